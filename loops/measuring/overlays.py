"""Slices of the first test cases with mask and prediction, drawn while a round is scored."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from loops.workbench import Workbench
from salearn.cases import IGNORE, CaseId
from salearn.store import atomic

CASES = 2  # of the sorted test cases, the same ones in every round
SIDE = 192  # pixels that the longer side of a slice has at least
SHARE = 0.45  # how strongly the filled prediction covers the image
# Okabe-Ito: told apart by the colour-blind, and visible on grey.
COLOURS = np.array(
    [(230, 159, 0), (86, 180, 233), (0, 158, 115), (204, 121, 167), (240, 228, 66), (213, 94, 0)],
    dtype=np.float32,
)


class Overlays:
    """Keeps small pictures of the first cases that it is offered, until they are written."""

    def __init__(self, axis: int, count: int = CASES) -> None:
        self._axis, self._count = axis, count
        self._pictures: dict[CaseId, UInt8[np.ndarray, "row column 3"]] = {}

    def offer(self, case: CaseId, image: np.ndarray, mask: np.ndarray, labels: np.ndarray) -> None:
        """Draw the case if fewer than `count` were drawn. Image, mask and labels are "x y z"."""
        if len(self._pictures) < self._count:
            index = _fullest(mask, self._axis)
            planes = (np.take(a, index, self._axis).T[::-1] for a in (image, mask, labels))
            self._pictures[case] = overlay(*planes)

    def write(self, folder: Path) -> str | None:
        """Write CASE.png for each; the cause if that fails, for a picture stops no run."""
        from PIL import Image

        try:
            for case, picture in self._pictures.items():
                with atomic(folder / f"{case}.png") as temporary:
                    Image.fromarray(picture).save(temporary, format="PNG")
        except OSError as error:
            return repr(error)
        return None


def _fullest(mask: np.ndarray, axis: int) -> int:
    """The slice with the most structure; the middle one where nothing is drawn."""
    drawn = (mask > 0) & (mask != IGNORE)
    areas = drawn.sum(axis=tuple(k for k in range(mask.ndim) if k != axis))
    return int(areas.argmax()) if areas.any() else mask.shape[axis] // 2


def overlay(
    image: Float[np.ndarray, "row column"],
    mask: UInt8[np.ndarray, "row column"],
    labels: UInt8[np.ndarray, "row column"],
) -> UInt8[np.ndarray, "high wide 3"]:
    """The image alone, and beside it with the prediction filled and the mask outlined.

    Both are enlarged by a whole factor to at least SIDE pixels.
    """
    factor = max(1, -(-SIDE // max(image.shape)))
    planes = _scaled(image), np.where(mask == IGNORE, np.uint8(0), mask), labels
    grey, drawn, found = (a.repeat(factor, axis=0).repeat(factor, axis=1) for a in planes)
    plain = np.repeat(grey[..., None], 3, axis=2).astype(np.float32)
    painted = plain.copy()
    painted[found > 0] = (1 - SHARE) * plain[found > 0] + SHARE * _colours(found[found > 0])
    line = _border(drawn)
    painted[line] = _colours(drawn[line])
    return np.concatenate([plain, painted], axis=1).astype(np.uint8)


def _scaled(image: np.ndarray) -> np.ndarray:
    """0..255 between the 1st and the 99th percentile."""
    low, high = np.percentile(image, (1, 99))
    scale = 255 / max(float(high - low), 1e-6)
    return np.asarray(np.clip((image - low) * scale, 0, 255), dtype=np.float32)


def _border(labels: np.ndarray) -> np.ndarray:
    """Pixels of a class with another label above, below, left or right of them."""
    wide = np.pad(labels, 1, mode="edge")
    around = (wide[:-2, 1:-1], wide[2:, 1:-1], wide[1:-1, :-2], wide[1:-1, 2:])
    return np.asarray((labels > 0) & np.logical_or.reduce([a != labels for a in around]))


def _colours(labels: np.ndarray) -> np.ndarray:
    return np.asarray(COLOURS[(labels.astype(int) - 1) % len(COLOURS)])


def folder_of(out: Path, round: int) -> Path:
    """Where the run keeps the pictures of a round."""
    return out / "overlays" / f"round_{round:03d}"


def place_overlays(bench: Workbench, entry: Path, round: int) -> None:
    """Copy the pictures of stored scores into the run; a failure is said and stops no run."""
    folder = folder_of(bench.out, round)
    try:
        for picture in sorted((entry / "overlays").glob("*.png")):
            folder.mkdir(parents=True, exist_ok=True)
            with atomic(folder / picture.name) as temporary:
                shutil.copyfile(picture, temporary)
    except OSError as error:
        bench.progress.say(f"round {round}: no slices with overlay ({error!r})")
