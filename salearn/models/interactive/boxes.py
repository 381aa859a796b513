"""SAM3 asked by text and boxes, through its geometry encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from salearn.errors import ConfigError
from salearn.models.interactive.planes import as_answer, as_input, box_shares
from salearn.models.interactive.roi import without_torchvision
from salearn.models.sam3 import USED_LEVELS, Sam
from salearn.prompts.geometry import Prompt, PromptView


class BoxSam:
    """A `Sam` that also takes boxes. One text prompt per class stands beside them.

    In SAM3 a box is an example of a concept: what looks like its content is segmented wherever it
    is. The semantic map is taken, as everywhere in this project.

    Args:
        sam: the base, or adapted; its prompts are those of the classes.
        batch: slices that are looked at together.
        rows: for each class, which of the prompts ask for it; the probabilities of several are
            averaged. None = one prompt per class.
    """

    def __init__(
        self, sam: Sam, batch: int = 16, rows: Sequence[Sequence[int]] | None = None
    ) -> None:
        self.sam = sam
        self.batch = batch
        self.rows = [[i] for i in range(len(sam.prompts))] if rows is None else rows
        self.encoder = without_torchvision(sam.model.geometry_encoder)

    def see(self, images: Sequence[Float[np.ndarray, "channel _h _w"]]) -> list[PromptView]:
        """A view of each slice; vision runs here, and only here.

        Raises:
            DataError: they are of several sizes.
        """
        views: list[PromptView] = []
        for first in range(0, len(images), self.batch):
            part = images[first : first + self.batch]
            views += self._views(as_input(part, self.sam.resolution), part[0].shape[1:])
        return views

    def logits(
        self, vision: Any, row: int, boxes: Float[Tensor, "b box 4"] | None
    ) -> Float[Tensor, "b side side"]:
        """Semantic logits of one text prompt with boxes; gradients flow.

        Args:
            vision: what the vision encoder gives. row: of the prompt.
            boxes: (left, top, right, bottom) as shares of the image, 0..1; None = text alone.

        Source: transformers' `Sam3Model.forward` without the DETR decoder (bit-identical, tested).
        """
        model = self.sam.model
        maps = list(vision.fpn_hidden_states[:USED_LEVELS])
        positions = list(vision.fpn_position_encoding[:USED_LEVELS])
        b = len(maps[0])
        text = self.sam.prompt_embeddings[row : row + 1].repeat(b, 1, 1)
        mask = self.sam.prompt_mask[row : row + 1].repeat(b, 1)
        if boxes is not None and boxes.shape[1]:
            found, valid = self._encoded(boxes.to(text), maps, positions)
            text, mask = torch.cat([text, found], dim=1), torch.cat([mask, valid], dim=1)
        encoded = model.detr_encoder(
            vision_features=[maps[-1]],
            text_features=text,
            vision_pos_embeds=[positions[-1]],
            text_mask=mask,
        )
        decoded = model.mask_decoder(
            decoder_queries=text[:, :1],  # any: instance masks are not used
            backbone_features=maps,
            encoder_hidden_states=encoded.last_hidden_state,
            prompt_features=text,
            prompt_mask=mask,
        )
        logits: Tensor = decoded.semantic_seg[:, 0]
        return logits

    def _encoded(
        self, boxes: Float[Tensor, "b box 4"], maps: list[Tensor], positions: list[Tensor]
    ) -> tuple[Float[Tensor, "b token dim"], Bool[Tensor, "b token"]]:
        corner, far = boxes[..., :2], boxes[..., 2:]
        valid = torch.ones(boxes.shape[:2], dtype=torch.bool, device=boxes.device)
        given = self.encoder(
            box_embeddings=torch.cat([(corner + far) / 2, far - corner], dim=-1),
            box_mask=valid,
            box_labels=valid.long(),  # all of them show what is meant
            img_feats=tuple(maps),
            img_pos_embeds=tuple(positions),
        )
        return given.last_hidden_state, given.attention_mask

    @torch.inference_mode()
    def _views(self, images: Tensor, shape: tuple[int, ...]) -> list[PromptView]:
        target = self.sam.prompt_embeddings
        vision = self.sam.model.vision_encoder(images.to(target.device, target.dtype))
        rows = range(len(images))
        return [_BoxView(self, _Vision.row(vision, i), (shape[0], shape[1])) for i in rows]


class _Vision:
    """The maps of one slice out of those of a batch."""

    def __init__(self, maps: list[Tensor], positions: list[Tensor]) -> None:
        self.fpn_hidden_states = maps
        self.fpn_position_encoding = positions

    @classmethod
    def row(cls, vision: Any, i: int) -> _Vision:
        maps = [m[i : i + 1] for m in vision.fpn_hidden_states[:USED_LEVELS]]
        # Positions are the same for all images; some versions give them once.
        positions = [p[:1] for p in vision.fpn_position_encoding[:USED_LEVELS]]
        return cls(maps, positions)


class _BoxView:
    """One slice; prompts by text and boxes."""

    def __init__(self, owner: BoxSam, vision: _Vision, shape: tuple[int, int]) -> None:
        self._owner, self._vision, self._shape = owner, vision, shape

    @torch.inference_mode()
    def segment(
        self, prompt: Prompt, previous: Float[np.ndarray, "h w"] | None = None
    ) -> Float[np.ndarray, "h w"]:
        """Logits of the class on the grid of the slice.

        Raises:
            ConfigError: no text prompt for the class, or clicks (the tracker takes those).
        """
        owner = self._owner
        if not 1 <= prompt.label <= len(owner.rows):
            raise ConfigError(
                f"class {prompt.label} has no text prompt; SAM3 was loaded with prompts for the "
                f"classes 1 to {len(owner.rows)} ({', '.join(owner.sam.prompts)})"
            )
        if prompt.clicks:
            raise ConfigError("SAM3's detector takes text and boxes; clicks go to its tracker")
        boxes = box_shares(prompt.boxes, self._shape)[None]
        found = [owner.logits(self._vision, row, boxes) for row in owner.rows[prompt.label - 1]]
        if len(found) == 1:
            return as_answer(found[0][0], self._shape)
        mean = torch.sigmoid(torch.cat(found).float()).mean(dim=0)
        return as_answer(torch.logit(mean, eps=1e-6), self._shape)
