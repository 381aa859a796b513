"""manifest.json of a worklist: everything that a returned mask is checked against."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from salearn.errors import DataError
from salearn.store import write_json

NAME = "manifest.json"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """One case of a list: its images, its mask file, and the units that are wanted of it.

    Attributes:
        images: file in the list -> SHA-256 of its bytes.
        mask: the file that a person edits; start_sha256 = of the bytes that were put there.
        start: hash of the voxels of the starting mask (RAS, 0..K).
        predicted: whether the starting mask is the student's prediction; else it is empty.
        shape, spacing, affine, orientation: of the image file, along its own axes.
        units: unit id -> {"order", "score", "first", "last": 0-based voxels along the axes of the
            image file, both included}.
    """

    case: str
    images: dict[str, str]
    mask: str
    region: str | None
    start_sha256: str
    start: str
    predicted: bool
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    affine: list[list[float]]
    orientation: str
    units: dict[str, dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A worklist: which run and round it belongs to, and its cases.

    Attributes:
        run: the run folder; key: of its settings.
        classes: name -> value in the mask files; ignore: value for voxels left open, if any.
    """

    run: str
    key: str
    round: int
    dataset: str
    strategy: str
    unit: str
    classes: dict[str, int]
    ignore: int | None
    sheets: tuple[Sheet, ...]
    version: int = VERSION

    def write(self, folder: Path) -> None:
        """Write manifest.json."""
        write_json(folder / NAME, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of a worklist folder.

        Raises:
            DataError: there is none, or it cannot be read.
        """
        path = folder / NAME
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values["version"] != VERSION:
                raise ValueError(f"version {values['version']} of another salearn")
            sheets = tuple(_sheet(sheet) for sheet in values.pop("sheets"))
            return cls(**values, sheets=sheets)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}: no worklist of `salearn query` ({error}); give the folder that it wrote, "
                "manifest included"
            ) from None

    def units(self) -> list[str]:
        """All units in the order of the strategy."""
        order = {unit: row["order"] for sheet in self.sheets for unit, row in sheet.units.items()}
        return sorted(order, key=lambda unit: int(order[unit]))


def _sheet(values: dict[str, Any]) -> Sheet:
    """A sheet from JSON, which knows no tuples."""
    x, y, z = values["shape"]
    right, front, up = values["spacing"]
    return Sheet(**(values | {"shape": (x, y, z), "spacing": (right, front, up)}))
