"""Class probabilities of whole volumes from a 3-D network, at batch 2 or more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from salearn.settings import Field, settings

Size = tuple[int, int, int]
Net = Callable[[Tensor], Tensor]


@settings
class InferenceSettings:
    """How volumes are predicted.

    Attributes:
        whole_below: volumes of at most so many voxels go through the network in one pass.
        window: window size for larger ones, voxels; None = twice the training patch. With
            instance norm use the training patch itself.
        overlap: of windows, share of their side.
        batch: volumes or windows at a time (always at least 2, see `at_least_two`).
    """

    whole_below: int = Field(default=400_000, ge=0)
    window: Size | None = None
    overlap: float = Field(default=0.5, ge=0, lt=1)
    batch: int = Field(default=4, ge=2)


def at_least_two(net: Net, image: Float[Tensor, "b channel x y z"]) -> Tensor:
    """`net(image)`, a lone sample duplicated on the way.

    On a CPU 3-D convolution of batch 1 takes 4 times longer per sample than of batch 2.
    """
    if len(image) > 1:
        return net(image)
    return net(image.expand(2, -1, -1, -1, -1))[:1]


def predict_volumes(
    net: Net,
    volumes: Sequence[Float[np.ndarray, "channel _x _y _z"]],
    divisor: int | Size,
    patch: Size,
    settings: InferenceSettings,
    device: torch.device | str = "cpu",
) -> Iterator[Float[np.ndarray, "class _x _y _z"]]:
    """Softmax probabilities, float32, in the order and on the grid of the input.

    Small volumes whose padded sizes agree go through the network together, up to `batch`.

    Args:
        net: logits of a batch, in eval mode.
        divisor: what the sides of an input of `net` must be divisible by; one number for all, or
            one for each.
        patch: training patch, the unit of the default window.
        device: of the network.
    """
    sizes = [_padded(v.shape[1:], divisor) for v in volumes]
    waiting: dict[int, np.ndarray] = {}  # predicted with an earlier volume of the same size
    todo = list(range(len(volumes)))
    for index in range(len(volumes)):
        if index in todo and np.prod(sizes[index]) > settings.whole_below:
            waiting[index] = _windows(net, volumes[index], divisor, patch, settings, device)
            todo.remove(index)
        elif index in todo:
            group = [i for i in todo if sizes[i] == sizes[index]][: settings.batch]
            results = _whole(net, [volumes[i] for i in group], sizes[index], device)
            waiting.update(zip(group, results, strict=True))
            todo = [i for i in todo if i not in group]
        yield waiting.pop(index)


@torch.inference_mode()
def _whole(
    net: Net, volumes: Sequence[np.ndarray], size: Size, device: torch.device | str
) -> list[np.ndarray]:
    batch = torch.stack([_pad(v, size) for v in volumes]).to(device)
    probabilities = torch.softmax(at_least_two(net, batch), dim=1).cpu().numpy()
    return [
        np.ascontiguousarray(p[:, : v.shape[1], : v.shape[2], : v.shape[3]])
        for p, v in zip(probabilities, volumes, strict=True)
    ]


@torch.inference_mode()
def _windows(
    net: Net,
    volume: np.ndarray,
    divisor: int | Size,
    patch: Size,
    settings: InferenceSettings,
    device: torch.device | str,
) -> np.ndarray:
    from monai.inferers import SlidingWindowInferer

    double = (2 * patch[0], 2 * patch[1], 2 * patch[2] if volume.shape[3] > 1 else 1)
    window = _padded(settings.window or double, divisor)
    inferer = SlidingWindowInferer(
        roi_size=window,
        sw_batch_size=settings.batch,
        overlap=settings.overlap,
        mode="gaussian",
        padding_mode="replicate",
        sw_device=device,  # windows travel one batch at a time; the volume stays on the CPU
        device="cpu",
    )
    image = torch.from_numpy(np.array(volume, dtype=np.float32))[None]
    soft = inferer(image, lambda x: torch.softmax(at_least_two(net, x), dim=1))
    result: np.ndarray = soft[0].numpy()
    # Windows are averaged with weights; rounding leaves sums a little off 1.
    result /= result.sum(0, keepdims=True)
    return result


def _pad(volume: np.ndarray, size: Size) -> Tensor:
    """At the far ends, the border repeated: as crops are padded in training."""
    image = torch.from_numpy(np.array(volume, dtype=np.float32))[None]
    ends = [
        b for a, side in zip(volume.shape[:0:-1], size[::-1], strict=True) for b in (0, side - a)
    ]
    return pad(image, ends, mode="replicate")[0]


def _padded(shape: Sequence[int], divisor: int | Size) -> Size:
    by = (divisor,) * 3 if isinstance(divisor, int) else divisor
    x, y, z = (-(-side // d) * d for side, d in zip(shape, by, strict=True))
    return x, y, z
