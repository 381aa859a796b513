"""The nouns of the outer loop: Case, unit ids, Pool, Selection. numpy only, no files opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NewType

import numpy as np
from jaxtyping import Float, Int64

CaseId = NewType("CaseId", str)
# "case" (a volume), "case@012" (a slice along the slice axis), or "case@000.016.008+16.16.16" (a
# patch: its first voxel and its size along x, y, z).
UnitId = NewType("UnitId", str)

SLICE_MARK = "@"
SIZE_MARK = "+"
Corner = tuple[int, int, int]
IGNORE = 255  # value of mask voxels that nobody annotated, and of the void of a mosaic


@dataclass(frozen=True, kw_only=True)
class Case:
    """One scan. It has no mask on purpose: masks are behind the Oracle.

    Attributes:
        id: unique within the data set.
        images: one file a channel (nnU-Net), or a single file.
        patient: groups cases of one person in splits; None = the case is its own group.
    """

    id: CaseId
    images: tuple[Path, ...]
    patient: str | None = None


def unit_id(case: CaseId, index: int | None = None) -> UnitId:
    """The id of a whole volume, or of the slice `index` of it."""
    return UnitId(case if index is None else f"{case}{SLICE_MARK}{index:03d}")


def patch_id(case: CaseId, corner: Corner, size: Corner) -> UnitId:
    """The id of the patch of `size` voxels whose first voxel is `corner` (x, y, z of the RAS grid).

    The id holds the size too, so a query log can be read without the settings of its run.
    """
    first = ".".join(f"{place:03d}" for place in corner)
    return UnitId(f"{case}{SLICE_MARK}{first}{SIZE_MARK}{'.'.join(map(str, size))}")


def parse_unit(unit: UnitId) -> tuple[CaseId, int | None]:
    """Case and slice index (None for a volume or a patch) of a unit id."""
    case, mark, index = unit.rpartition(SLICE_MARK)
    if not mark:
        return CaseId(unit), None
    return CaseId(case), None if SIZE_MARK in index else int(index)


def parse_units(units: Sequence[UnitId]) -> tuple[list[str], np.ndarray]:
    """Case, and slice index (-1 for a volume or a patch), of many units: `parse_unit` of each."""
    cases: list[str] = []
    index: list[int] = []
    for unit in units:  # a million of them: three times faster than a call for each
        case, mark, place = unit.rpartition(SLICE_MARK)
        cases.append(case if mark else unit)
        index.append(int(place) if mark and SIZE_MARK not in place else -1)
    return cases, np.array(index, dtype=np.int64)


def parse_patch(unit: UnitId) -> tuple[Corner, Corner] | None:
    """First voxel and size of a patch; None for other units."""
    where = unit.rpartition(SLICE_MARK)[2]
    if SLICE_MARK not in unit or SIZE_MARK not in where:
        return None
    corner, size = (part.split(".") for part in where.split(SIZE_MARK))
    return (
        (int(corner[0]), int(corner[1]), int(corner[2])),
        (int(size[0]), int(size[1]), int(size[2])),
    )


def unit_box(unit: UnitId, axis: int) -> tuple[slice, slice, slice]:
    """The voxels of a unit, as an index of arrays "x y z".

    Args:
        axis: the slice axis.
    """
    box = [slice(None)] * 3
    patch, index = parse_patch(unit), parse_unit(unit)[1]
    if patch is not None:
        box = [slice(first, first + side) for first, side in zip(*patch, strict=True)]
    elif index is not None:
        box[axis] = slice(index, index + 1)
    return box[0], box[1], box[2]


@dataclass(frozen=True, kw_only=True)
class Pool:
    """What may be selected. A round makes a new pool; nothing is moved in place."""

    labeled: tuple[UnitId, ...]
    unlabeled: tuple[UnitId, ...]

    def after(self, chosen: Sequence[UnitId]) -> Pool:
        """The pool once `chosen` are annotated.

        Raises:
            ValueError: `chosen` are not distinct or not all unlabeled.
        """
        if len(set(chosen)) != len(chosen):
            raise ValueError(f"chosen units are not distinct: {list(chosen)}")
        strangers = sorted(set(chosen) - set(self.unlabeled))
        if strangers:
            raise ValueError(f"not among the unlabeled units: {strangers[:5]}")
        taken = set(chosen)
        rest = tuple(unit for unit in self.unlabeled if unit not in taken)
        return Pool(labeled=(*self.labeled, *chosen), unlabeled=rest)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a strategy answers: the units, best first, and the score of every candidate.

    Attributes:
        unit_ids: the chosen units in order of choice.
        scores: every candidate of the pool; higher = more wanted. For a greedy rule the value that
            the unit had when it was picked, or at the end if it was not.
    """

    unit_ids: tuple[UnitId, ...]
    scores: Mapping[UnitId, float]


def check_request(pool: Pool, n: int) -> None:
    """Refuse a request that the pool cannot meet.

    Raises:
        ValueError: n is negative or larger than the number of unlabeled units.
    """
    if n < 0 or n > len(pool.unlabeled):
        raise ValueError(f"asked for {n} units, but {len(pool.unlabeled)} are unlabeled")


def shuffled(units: Sequence[UnitId], rng: np.random.Generator) -> list[UnitId]:
    """The units in an order that depends on their set and the generator, not on their order."""
    ordered = sorted(units)
    return [ordered[i] for i in rng.permutation(len(ordered))]


def by_rows(
    units: Sequence[UnitId],
    rows: Sequence[int] | Int64[np.ndarray, " pick"],
    scores: Float[np.ndarray, " unit"],
) -> Selection:
    """The units of these rows, in this order, and everybody's scores."""
    wanted = tuple(units[row] for row in rows)
    return Selection(unit_ids=wanted, scores=dict(zip(units, scores.tolist(), strict=True)))


def best(scores: Mapping[UnitId, float], n: int, rng: np.random.Generator) -> Selection:
    """The n highest scores; ties are broken by the generator, never by position.

    Raises:
        ValueError: more units are wanted than there are, or a score is not finite.
    """
    if n < 0 or n > len(scores):
        raise ValueError(f"asked for {n} units, but {len(scores)} are unlabeled")
    bad = [unit for unit, score in scores.items() if not np.isfinite(score)]
    if bad:
        raise ValueError(f"scores must be finite; these units' are not: {sorted(bad)[:5]}")
    order = sorted(shuffled(list(scores), rng), key=lambda unit: -scores[unit])
    return Selection(unit_ids=tuple(order[:n]), scores=dict(scores))
