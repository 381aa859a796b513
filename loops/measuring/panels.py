"""Small pictures for the report: what was chosen, and the test cases that went worst."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from loops.workbench import Workbench
from salearn.cases import IGNORE, CaseId, UnitId, parse_patch, parse_unit
from salearn.data.volumes import Volume
from salearn.store import atomic, read_lines

SIZE = 120  # pixels of a plane; three stand side by side on a phone
GAP = 2
MOST_CHOSEN = 24  # pictures of chosen units a round
GREYS = 200  # palette: greys, then black for the gaps, then the classes
# Okabe-Ito, bright ones first, so that lines stand out on grey and to the colour-blind.
COLOURS = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (204, 121, 167), (240, 228, 66), (213, 94, 0),
)  # fmt: skip
Plane = UInt8[np.ndarray, "row column"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """One case with everything that a picture of it needs."""

    case: CaseId
    image: Float[np.ndarray, "x y z"]
    spacing: tuple[float, float, float]
    mask: UInt8[np.ndarray, "x y z"]
    labels: UInt8[np.ndarray, "x y z"] | None = None


class Worst:
    """The cases with the lowest mean Dice so far, never more than `count` of them in memory."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._kept: list[tuple[float, str, Shown]] = []

    def offer(
        self, rows: Sequence[dict[str, Any]], volume: Volume, mask: np.ndarray, labels: np.ndarray
    ) -> None:
        """Keep the case of these metric rows if it is among the worst."""
        dice = [row["dice"] for row in rows if np.isfinite(row["dice"])]
        if not self._count or not dice:
            return
        case = rows[0]["case"]
        shown = Shown(
            case=case, image=volume.image[0], spacing=volume.spacing, mask=mask, labels=labels
        )
        self._kept.append((float(np.mean(dice)), str(case), shown))
        self._kept = sorted(self._kept, key=lambda kept: kept[:2])[: self._count]

    def write(self, folder: Path) -> str | None:
        """Write worst_CASE.png for each; the cause if that fails, for a picture stops no run."""
        try:
            for _, case, shown in self._kept:
                save(worst_panel(shown), folder / f"worst_{case}.png")
        except Exception as error:
            return repr(error)
        return None


def place_panels(bench: Workbench, entry: Path, round: int) -> None:
    """Copy the pictures that were drawn while scoring into the run, and draw the chosen units.

    A picture that cannot be drawn or written is left out and said so: it stops no run.
    """
    if not bench.config.panels:
        return
    folder = bench.out / "panels" / f"round_{round:03d}"
    try:
        for picture in sorted((entry / "panels").glob("worst_*.png")):
            folder.mkdir(parents=True, exist_ok=True)
            with atomic(folder / picture.name) as temporary:
                shutil.copyfile(picture, temporary)
        for unit in _chosen(bench, round)[:MOST_CHOSEN]:
            save(chosen_panel(bench, unit), folder / f"selected_{unit}.png")
    except Exception as error:
        bench.progress.say(f"round {round}: no pictures for the report ({error!r})")


def _chosen(bench: Workbench, round: int) -> list[UnitId]:
    """Units annotated in this round, as the query log has them."""
    lines = read_lines(bench.out / "queries.jsonl")
    return [
        UnitId(line["unit"])
        for line in lines
        if line["purpose"] == "annotate" and line["round"] == round
    ]


def chosen_panel(bench: Workbench, unit: UnitId) -> Plane:
    """The chosen slice, the middle of the patch, or that of the mask, with the mask's outline."""
    case, index = parse_unit(unit)
    volume, axis = bench.volume(case), bench.config.data.axis
    shown = Shown(
        case=case, image=volume.image[0], spacing=volume.spacing, mask=bench.oracle.mask(case)
    )
    center = _center(shown)
    if index is not None:
        center[axis] = (index + 0.5) * volume.spacing[axis]
    elif (patch := parse_patch(unit)) is not None:
        center = (np.array(patch[0]) + np.array(patch[1]) / 2) * np.array(volume.spacing)
    place = _indices(shown, axis, center, _side(shown, across=axis))
    grey = _grey([_sample(shown.image, place, np.nan)])[0]
    return _outlined(grey, _sample(shown.mask, place))


def worst_panel(shown: Shown) -> Plane:
    """Image, mask and prediction (rows) in three planes through the mask's center of mass.

    Columns: sagittal, coronal, axial. All planes have one scale in mm, centered on the structure.
    """
    center, side = _center(shown), _side(shown)
    places = [_indices(shown, axis, center, side) for axis in range(3)]
    greys = _grey([_sample(shown.image, place, np.nan) for place in places])
    rows = [greys]
    for labels in (shown.mask, shown.labels):
        if labels is not None:
            planes = [_sample(labels, place) for place in places]
            rows.append([_outlined(g, p) for g, p in zip(greys, planes, strict=True)])
    return _tiled(rows)


def _foreground(labels: np.ndarray | None) -> np.ndarray:
    if labels is None:
        return np.empty((0, 3), dtype=int)
    return np.argwhere((labels > 0) & (labels != IGNORE))


def _center(shown: Shown) -> np.ndarray:
    """Center of mass of the mask in mm from the corner; of the volume where the mask is empty."""
    drawn = _foreground(shown.mask)
    middle = drawn.mean(axis=0) if len(drawn) else (np.array(shown.mask.shape) - 1) / 2
    return np.asarray((middle + 0.5) * np.array(shown.spacing))


def _side(shown: Shown, across: int | None = None) -> float:
    """Length of a plane's side in mm: twice the structure, at most the volume.

    Args:
        across: the axis that the only plane is across; None = there is a plane across each.
    """
    spacing = np.array(shown.spacing) * [axis != across for axis in range(3)]
    whole = float((np.array(shown.mask.shape) * spacing).max())
    drawn = np.concatenate([_foreground(shown.mask), _foreground(shown.labels)])
    if not len(drawn):
        return whole
    extent = (np.ptp(drawn, axis=0) + 1) * spacing
    return min(whole, 2 * float(extent.max()))


def _indices(
    shown: Shown, axis: int, center: np.ndarray, side: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Voxel indices of each pixel of the plane across `axis`; -1 = outside the volume."""
    steps = (np.arange(SIZE) + 0.5 - SIZE / 2) * side / SIZE
    across, up = (k for k in range(3) if k != axis)
    mm = {axis: np.array([center[axis]]), across: center[across] + steps, up: center[up] + steps}
    found = []
    for k in range(3):
        index = np.floor(mm[k] / shown.spacing[k]).astype(int)
        found.append(np.where((index >= 0) & (index < shown.mask.shape[k]), index, -1))
    return found[0], found[1], found[2]


def _sample(
    array: np.ndarray, place: tuple[np.ndarray, np.ndarray, np.ndarray], outside: float = 0
) -> np.ndarray:
    """The plane with rows from top (superior or anterior) to bottom."""
    x, y, z = np.ix_(*place)
    inside = (x >= 0) & (y >= 0) & (z >= 0)
    found = np.where(inside, array[x, y, z], array.dtype.type(outside))
    return np.asarray(found.squeeze().T[::-1])


def _grey(planes: Sequence[np.ndarray]) -> list[Plane]:
    """Palette indices 0..GREYS-1 between the 1st and 99th percentile; NaN (outside) is black."""
    low, high = np.nanpercentile(np.concatenate([plane.ravel() for plane in planes]), (1, 99))
    scale = (GREYS - 1) / max(float(high - low), 1e-6)
    greys = [np.clip((plane - low) * scale, 0, GREYS - 1) for plane in planes]
    return [np.where(np.isnan(grey), GREYS, grey).astype(np.uint8) for grey in greys]


def _outlined(grey: Plane, labels: np.ndarray) -> Plane:
    """The plane with the inner border of each class in its colour."""
    drawn = np.where(labels == IGNORE, 0, labels)
    wide = np.pad(drawn, 1, mode="edge")
    around = (wide[:-2, 1:-1], wide[2:, 1:-1], wide[1:-1, :-2], wide[1:-1, 2:])
    border = (drawn > 0) & np.logical_or.reduce([other != drawn for other in around])
    colour = GREYS + 1 + (drawn.astype(int) - 1) % len(COLOURS)
    return np.where(border, colour, grey).astype(np.uint8)


def _tiled(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    step = SIZE + GAP
    sheet = np.full((len(rows) * step - GAP, len(rows[0]) * step - GAP), GREYS, np.uint8)
    for i, row in enumerate(rows):
        for j, plane in enumerate(row):
            sheet[i * step : i * step + SIZE, j * step : j * step + SIZE] = plane
    return sheet


def save(picture: Plane, path: Path) -> None:
    """Write palette indices as a PNG; the same picture gives the same bytes."""
    from PIL import Image

    greys = [round(255 * k / (GREYS - 1)) for k in range(GREYS)]
    palette = [value for grey in greys for value in (grey, grey, grey)] + [0, 0, 0]
    image = Image.fromarray(picture)
    image.putpalette(palette + [value for colour in COLOURS for value in colour])
    with atomic(path) as temporary:
        image.save(temporary, format="PNG", optimize=False)
