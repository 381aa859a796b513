"""SAM3's tracker on single images: points, boxes and a previous mask in, a mask out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from salearn.errors import ConfigError
from salearn.models.interactive.planes import as_answer, as_input, box_shares, click_pixels
from salearn.models.interactive.tracker_weights import TrackerSettings, build_tracker
from salearn.prompts.geometry import Prompt, PromptView

USED_LEVELS = 3  # the neck makes a fourth map that the tracker throws away
MASK_LIMIT = 32.0  # logits of a mask prompt are clamped, as SAM2 does


class Tracker(nn.Module):
    """`Sam3TrackerModel` in two steps: see an image once, answer as often as one likes."""

    def __init__(self, model: Any, given: TrackerSettings) -> None:
        super().__init__()
        self.settings = given
        self.model = model.requires_grad_(False)
        self.eval()

    @property
    def side(self) -> int:
        """Side of the input, pixels."""
        return int(self.model.prompt_encoder.input_image_size)

    @property
    def several(self) -> bool:
        """Whether the weights know several masks for one ambiguous click."""
        return bool(self.model.config.mask_decoder_config.dynamic_multimask_via_stability)

    def see(self, images: Float[Tensor, "b 3 side side"]) -> list[Tensor]:
        """The maps that answers are made from; gradients flow.

        The embedding for "nothing in memory" is added to the coarsest used map, as SAM3 does for
        the first frame of a film (transformers' single-image class adds it to the map that it
        throws away, which leaves it without effect).
        """
        target = self.model.no_memory_embedding
        found = self.model.get_image_features(images.to(target.device, target.dtype))
        sizes = self.model.backbone_feature_sizes
        maps = [
            flat.permute(1, 2, 0).reshape(len(images), -1, *size)
            for flat, size in zip(found.fpn_hidden_states[:USED_LEVELS], sizes, strict=True)
        ]
        maps[-1] = maps[-1] + target.view(1, -1, 1, 1)
        return maps

    def decode(
        self,
        maps: list[Tensor],
        points: Float[Tensor, "b object point 2"] | None = None,
        signs: Int[Tensor, "b object point"] | None = None,
        boxes: Float[Tensor, "b object 4"] | None = None,
        previous: Float[Tensor, "b 1 quarter quarter"] | None = None,
        several: bool = False,
    ) -> Float[Tensor, "b object quarter quarter"]:
        """Mask logits of each object, on a grid of 4 x 4 per token; gradients flow.

        Args:
            points: (x, y), pixels of the input counted from the middle of the first one.
            signs: 1 positive, 0 negative, -10 padding.
            boxes: (left, top, right, bottom) likewise.
            previous: logits of the answer that is corrected, on the same grid as the result.
            several: let the model make three masks and take the one it rates best.
        """
        found = self.model(
            image_embeddings=maps,
            input_points=points,
            input_labels=signs,
            input_boxes=boxes,
            input_masks=previous,
            multimask_output=several,
        )
        best = found.iou_scores.argmax(dim=2)[..., None, None, None]
        masks: Tensor = found.pred_masks
        return masks.take_along_dim(best, dim=2)[:, :, 0]


def load_tracker(given: TrackerSettings) -> Tracker:
    """The tracker with frozen weights.

    Raises:
        WeightsError: the weights cannot be had, are damaged or do not fit.
        ConfigError: the resolution is impossible, or CUDA is asked for and absent.
    """
    if given.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("tracker.device: cuda is asked for, but torch sees no CUDA device")
    return Tracker(build_tracker(given).to(given.device), given)


class ClickSam:
    """The tracker as a model that answers prompts on slices of any size.

    Args:
        batch: slices that are looked at together.
    """

    def __init__(self, tracker: Tracker, batch: int = 16) -> None:
        self.tracker = tracker
        self.batch = batch

    @torch.inference_mode()
    def see(self, images: Sequence[Float[np.ndarray, "channel _h _w"]]) -> list[PromptView]:
        """A view of each slice; vision runs here, and only here.

        Raises:
            DataError: they are of several sizes.
        """
        views: list[PromptView] = []
        for first in range(0, len(images), self.batch):
            part = images[first : first + self.batch]
            maps = self.tracker.see(as_input(part, self.tracker.side))
            height, width = part[0].shape[1:]
            views += [
                _ClickView(self.tracker, [m[i : i + 1] for m in maps], (height, width))
                for i in range(len(part))
            ]
        return views


class _ClickView:
    """One slice; prompts by clicks, boxes and the answer before."""

    def __init__(self, tracker: Tracker, maps: list[Tensor], shape: tuple[int, int]) -> None:
        self._tracker, self._maps, self._shape = tracker, maps, shape

    @torch.inference_mode()
    def segment(
        self, prompt: Prompt, previous: Float[np.ndarray, "h w"] | None = None
    ) -> Float[np.ndarray, "h w"]:
        """Logits on the grid of the slice; without clicks, several boxes give their union.

        Raises:
            ConfigError: clicks beside several boxes: they would ask for one object each.
        """
        if prompt.clicks and len(prompt.boxes) > 1:
            raise ConfigError("the tracker takes clicks beside one box at most")
        tracker = self._tracker
        device = self._maps[-1].device
        points = click_pixels(prompt.clicks, self._shape, tracker.side)[None, None]
        signs = torch.tensor([[[int(click.positive) for click in prompt.clicks]]])
        boxes = (box_shares(prompt.boxes, self._shape) * tracker.side - 0.5)[None]
        first = len(prompt.clicks) == 1 and previous is None and not prompt.boxes
        logits = tracker.decode(
            self._maps,
            points.to(device) if prompt.clicks else None,
            signs.to(device) if prompt.clicks else None,
            boxes.to(device) if prompt.boxes else None,
            None if previous is None else self._mask(previous),
            several=first and tracker.several,
        )
        return as_answer(logits[0].amax(dim=0), self._shape)

    def _mask(self, previous: Float[np.ndarray, "h w"]) -> Float[Tensor, "1 1 quarter quarter"]:
        size = self._tracker.model.prompt_encoder.mask_input_size
        given = torch.from_numpy(previous.astype(np.float32))[None, None]
        resized = functional.interpolate(
            given, size, mode="bilinear", align_corners=False, antialias=True
        )
        return resized.clamp(-MASK_LIMIT, MASK_LIMIT).to(self._maps[-1])
