"""Generated 3-D scenes with their label maps, to pretrain on: no real image is in them.

Two families. "anatomy": one object in the middle of folded tissue, often of the intensity of some
tissue around it, so that place and shape must be used. "objects": several solids of different kind,
size and brightness on plain ground.

Source: the generator of the measured prototype of the reference notes, widened.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from salearn.data.procedural_parts import (
    SceneSettings,
    any_shape,
    central_shape,
    draw_direction,
    draw_signals,
    draw_surroundings,
    scan,
)
from salearn.data.procedural_shapes import KINDS, Grid, along, draw_level, inside

__all__ = ["CODE_VERSION", "Scene", "SceneSettings", "Solid", "draw_scene"]

CODE_VERSION = 1  # raise it when the voxels that come out change
TISSUES = 4  # of an anatomy, before the object's own
LEAST = 30  # voxels: smaller objects are not kept


@dataclass(frozen=True, kw_only=True, eq=False)
class Solid:
    """One object of a scene.

    Attributes:
        brighter: than the ground it lies on; None where it has the intensity of its surroundings.
        level: 0 at the heart, 1 at the surface.
    """

    kind: str
    mask: Bool[np.ndarray, "x y z"]
    level: Float32[np.ndarray, "x y z"]
    brighter: bool | None

    @property
    def size(self) -> int:
        """Voxels."""
        return int(self.mask.sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """An image and all that can be asked about it.

    Attributes:
        family: "anatomy" or "objects".
        image: intensities, roughly 0..1.
        solids: of an anatomy one, the object in the middle.
        tissue: index of the tissue of each voxel; signal: intensity of each tissue.
        cuts: for each axis, the voxels on the positive side (right, anterior, superior) of the
            tilted plane that parts the object in the middle.
        core: level below which a voxel of that object belongs to its core.
    """

    family: str
    image: Float32[np.ndarray, "x y z"]
    solids: tuple[Solid, ...]
    tissue: UInt8[np.ndarray, "x y z"]
    signal: Float[np.ndarray, " tissue"]
    cuts: tuple[Bool[np.ndarray, "x y z"], ...]
    core: float


def draw_scene(
    shape: tuple[int, int, int],
    step: tuple[float, float, float],
    given: SceneSettings,
    rng: np.random.Generator,
    family: str | None = None,
) -> Scene:
    """A scene; equal for equal arguments and state of `rng`.

    Args:
        shape: voxels along x, y, z (RAS). step: mm from voxel to voxel.
        family: "anatomy" or "objects"; None = drawn by `given.anatomy`.
    """
    grid = Grid(shape, step)
    family = family or ("anatomy" if rng.random() < given.anatomy else "objects")
    if family == "anatomy":
        coated = given.coat > 0 and rng.random() < given.coat
        solids, tissue, signal = (_coated if coated else _anatomy)(grid, given, rng)
    else:
        solids, tissue, signal = _objects(grid, given, rng)
    cuts = tuple(_cut(solids[0], axis, grid, rng) for axis in range(3))
    core = rng.uniform(0.45, 0.65)
    shown = signal
    if family == "anatomy" and rng.random() < 0.3:
        # The core or one part may be of another brightness: then it can be seen, not only told.
        hint = solids[0].level < core if rng.random() < 0.5 else cuts[int(rng.integers(3))]
        tissue = np.where(solids[0].mask & hint, len(signal), tissue).astype(np.uint8)
        own = signal[-1] + rng.choice([-1, 1]) * rng.uniform(0.08, 0.3)
        shown = signal = np.append(signal, own)
    image = scan(shown[tissue], grid, given, rng)
    return Scene(
        family=family,
        image=image,
        solids=solids,
        tissue=tissue,
        signal=signal,
        cuts=cuts,
        core=core,
    )


def _anatomy(
    grid: Grid, given: SceneSettings, rng: np.random.Generator
) -> tuple[tuple[Solid, ...], UInt8[np.ndarray, "x y z"], Float[np.ndarray, " tissue"]]:
    """One object, its surroundings, and a rim that is open at one side."""
    shape = central_shape(grid, given, rng)
    level = draw_level(shape, grid, rng)
    mask = inside(shape, level)
    signal = draw_signals(TISSUES, given, rng)
    tissue = draw_surroundings(grid, rng)
    hidden = bool(rng.random() < given.camouflage)
    if hidden or rng.random() < 0.5:
        depth = (level - 1) * np.float32(shape.radius)  # roughly mm from the surface
        open_at = rng.uniform(-2.0, -0.8) if hidden else rng.uniform(-1.5, 0.3)
        rim = (depth < rng.uniform(1.2, 2.8)) & (grid.field(9.0, rng) > open_at)
        tissue[rim] = int(rng.choice([0, 2]))
    brighter: bool | None = None
    if hidden:
        own = signal[1] + rng.normal(0, 0.03)
    else:
        brighter = bool(rng.random() < 0.5)
        own = signal[0] + (1 if brighter else -1) * rng.uniform(*given.contrast)
    tissue[mask] = TISSUES
    solid = Solid(kind=shape.kind, mask=mask, level=level, brighter=brighter)
    return (solid,), tissue, np.append(signal, own)


def _coated(
    grid: Grid, given: SceneSettings, rng: np.random.Generator
) -> tuple[tuple[Solid, ...], UInt8[np.ndarray, "x y z"], Float[np.ndarray, " tissue"]]:
    """One object of the brightness of tissue 1, with tissue 0 about it and 2 along one side."""
    shape = central_shape(grid, given, rng)
    level = draw_level(shape, grid, rng)
    mask = inside(shape, level)
    sign, middle = rng.choice([-1, 1]), rng.uniform(0.35, 0.65)
    apart = sign * rng.uniform(*given.contrast, 3) * (1, -1, 0.5)
    signal = np.array([middle + apart[0], middle, middle + apart[1], middle + apart[2]])
    tissue = draw_surroundings(grid, rng)
    x, y, z = draw_direction(rng)
    plain = along(grid, (0, 0, 0), np.array([x, y, z])) + 4 * grid.field(12.0, rng)
    tissue[plain > rng.uniform(0.1, 0.5) * grid.extent.min()] = 0
    depth = (level - 1) * np.float32(shape.radius)  # roughly mm from the surface
    side = along(grid, shape.center, np.array(draw_direction(rng))) / np.float32(1.5 * shape.radius)
    side += np.float32(0.7) * grid.field(8.0, rng)
    tissue[(depth < rng.uniform(1.2, 2.6)) & (side > rng.uniform(-2.0, -0.4))] = 0
    tissue[(depth < rng.uniform(1.5, 4.5)) & (side > rng.uniform(0.5, 1.3))] = 2
    tissue[mask] = TISSUES
    solid = Solid(kind=shape.kind, mask=mask, level=level, brighter=None)
    return (solid,), tissue, np.append(signal, middle + rng.normal(0, 0.03))


def _objects(
    grid: Grid, given: SceneSettings, rng: np.random.Generator
) -> tuple[tuple[Solid, ...], UInt8[np.ndarray, "x y z"], Float[np.ndarray, " tissue"]]:
    """Solids that keep apart, on ground of one tissue; the first is the nearest to the middle."""
    tissue = np.zeros(grid.shape, np.uint8)
    signal = [rng.uniform(0.35, 0.65)]
    solids: list[Solid] = []
    for trial in range(int(rng.integers(3, 8))):
        kind = str(rng.choice(KINDS))
        shape = any_shape(kind, grid, rng) if trial else central_shape(grid, given, rng)
        level = draw_level(shape, grid, rng)
        mask = inside(shape, level)
        near = level < 1.3
        if mask.sum() < LEAST or any((near & other.mask).any() for other in solids):
            continue
        brighter = bool(rng.random() < 0.5)
        signal.append(signal[0] + (1 if brighter else -1) * rng.uniform(0.15, 0.45))
        tissue[mask] = len(signal) - 1
        solids.append(Solid(kind=shape.kind, mask=mask, level=level, brighter=brighter))
    if not solids:
        return _objects(grid, given, rng)
    return tuple(solids), tissue, np.array(signal)


def _cut(
    solid: Solid, axis: int, grid: Grid, rng: np.random.Generator
) -> Bool[np.ndarray, "x y z"]:
    """The positive side of a tilted plane across `axis` through the middle third of a solid."""
    normal = np.eye(3)[axis] + rng.normal(0, 0.12, 3)
    x, y, z = (np.float32(normal[i]) * grid.axis(i) for i in range(3))
    height = x + y + z
    low, high = np.quantile(height[solid.mask], (0.01, 0.99)) if solid.size else (0.0, 0.0)
    above: np.ndarray = height > low + rng.uniform(0.35, 0.65) * (high - low)
    return above
