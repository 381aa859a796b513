"""The grid of patches that a volume is cut into when patches are the units of annotation."""

from __future__ import annotations

from itertools import product

from salearn.cases import Corner
from salearn.errors import ConfigError
from salearn.settings import settings


@settings
class PatchGrid:
    """Patches of one size at every `stride` voxels; the last of each row ends with the volume.

    So all patches of a volume have the same size, and the last two of a row may overlap. What was
    annotated before costs nothing again.

    Attributes:
        size: voxels along x, y, z of the RAS grid; a volume that is smaller is taken whole.
        stride: voxels between neighbors; None = the size, so that patches tile the volume.
    """

    size: Corner = (16, 16, 16)
    stride: Corner | None = None

    def __post_init__(self) -> None:
        if min(self.size) < 1 or min(self.stride or self.size) < 1:
            raise ConfigError(f"patches: size {self.size} and stride {self.stride} must be >= 1")
        if self.stride is not None and any(
            step > side for step, side in zip(self.stride, self.size, strict=True)
        ):
            raise ConfigError(
                f"patches: stride {self.stride} is larger than size {self.size}: voxels between "
                "the patches could never be annotated"
            )

    def patches(self, shape: Corner) -> list[tuple[Corner, Corner]]:
        """Corner and size of every patch of a volume of this shape, in order of x, y, z."""
        size = tuple(min(side, room) for side, room in zip(self.size, shape, strict=True))
        stride = self.stride or self.size
        rows = [
            sorted({*range(0, room - side + 1, step), room - side})
            for room, side, step in zip(shape, size, stride, strict=True)
        ]
        return [((x, y, z), (size[0], size[1], size[2])) for x, y, z in product(*rows)]
