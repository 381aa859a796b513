"""Images, masks and results: files <-> arrays in RAS. Raw intensities; cache.py normalises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, Shaped, UInt8

from salearn.cases import IGNORE, Case
from salearn.data.nifti import Decoded, Geometry, decode, encode, require_same_grid
from salearn.data.source import LOSSY, DefectError, defect_error, is_picture

__all__ = ["Geometry", "Volume", "read_mask", "read_volume", "result_name", "write_labels"]

SHOWN = 8  # values listed in a message


@dataclass(frozen=True, kw_only=True, eq=False)
class Volume:
    """One scan on its RAS grid.

    Attributes:
        image: may be a read-only memory map; copy before handing it to torch.
        spacing: voxel size along x, y, z in mm.
        affine: voxel index of the RAS grid -> mm.
        source: the grid of the file, to write results back on.
    """

    image: Float32[np.ndarray, "channel x y z"]
    spacing: tuple[float, float, float]
    affine: Float64[np.ndarray, "4 4"]
    source: Geometry


def read_volume(case: Case) -> Volume:
    """The raw intensities of a case, all channels, in RAS.

    Several files give a channel each; one 4-D file gives its last axis.

    Raises:
        DataError: a file is missing or broken, the channels lie on different grids, or a voxel is
            NaN or infinite; the message names case and file.
    """
    parts: list[Decoded] = []
    for path in case.images:
        part = decode(path, case.id)
        if parts:
            require_same_grid(parts[0].geometry, part.geometry, path, case.id, "first channel")
        require_finite(part, path, case.id)
        parts.append(part)
    geometry = parts[0].geometry
    channels = [np.moveaxis(part.array, 3, 0) for part in parts]
    return Volume(
        image=np.ascontiguousarray(np.concatenate(channels), dtype=np.float32),
        spacing=geometry.ras_spacing,
        affine=geometry.ras_affine,
        source=geometry,
    )


def read_mask(
    path: Path,
    case_id: str,
    values: Sequence[int],
    like: Volume | Geometry,
    ignore: int | None = None,
) -> UInt8[np.ndarray, "x y z"]:
    """A mask in RAS: 0 background, 1..K in the order of `values`, 255 not annotated.

    Only the Oracle (and the data check) may call this. Float files with whole numbers are read.

    Args:
        values: what the classes 1..K are called in the file.
        like: the image's volume or grid; the mask must lie on it.
        ignore: value in the file that means "not annotated".

    Raises:
        DataError: broken file, other grid than the image, or a value that is not declared.
    """
    geometry = like.source if isinstance(like, Volume) else like
    decoded = decode(path, case_id)
    mask = single_channel(decoded, path, case_id)
    require_same_grid(geometry, decoded.geometry, path, case_id, "image")
    strange = strange_values(mask, [*values, *([] if ignore is None else [ignore])])
    if strange:
        raise unknown_values(strange, values, path, case_id)
    labels = np.zeros(mask.shape, np.uint8)
    for label, value in enumerate(values, start=1):
        labels[mask == value] = label
    if ignore is not None:
        labels[mask == ignore] = IGNORE
    return labels


def write_labels(
    path: Path,
    labels: UInt8[np.ndarray, "x y z"],
    geometry: Geometry,
    values: Sequence[int],
) -> None:
    """Write labels (RAS, 0..K; 255 stays 255) on the grid of the original file, atomically.

    Shape, order and direction of the axes, qform and sform are those of the original.

    Raises:
        ValueError: the shape does not fit, or a label has no value.
    """
    top = len(values)
    strange = strange_values(labels, [*range(1, top + 1), IGNORE])
    if strange or IGNORE in values[: top if IGNORE in labels else 0]:
        raise ValueError(f"{path}: labels {strange or [IGNORE]} do not fit the values {values}")
    span = [0, *values, *([IGNORE] if IGNORE in labels else [])]
    dtype = np.promote_types(np.min_scalar_type(max(span)), np.min_scalar_type(min(span)))
    table = np.zeros(IGNORE + 1, dtype)
    table[1 : top + 1] = values
    table[IGNORE] = IGNORE if IGNORE in labels else 0
    encode(path, table[labels], geometry)


def result_name(case: Case) -> str:
    """File name of a result on the case's grid: PNG for a picture, else compressed NIfTI."""
    return f"{case.id}.png" if is_picture(case.images[0]) else f"{case.id}.nii.gz"


def require_finite(part: Decoded, path: Path, case: str) -> None:
    """Refuse NaN and infinite voxels.

    Raises:
        DataError: with the number of such voxels.
    """
    if part.integer:
        return
    bad = int(part.array.size - np.count_nonzero(np.isfinite(part.array)))
    if bad:
        remedy = "replace them (0 is usual outside the body) or leave the case out"
        raise defect_error(case, path, f"{bad} voxels are NaN or infinite", remedy)


def single_channel(decoded: Decoded, path: Path, case: str) -> Shaped[np.ndarray, "x y z"]:
    """The one channel of a mask.

    Raises:
        DataError: there are several.
    """
    if decoded.array.shape[3] != 1:
        problem = f"the mask has {decoded.array.shape[3]} channels"
        raise defect_error(case, path, problem, "store one volume with a number for each class")
    mask: np.ndarray = decoded.array[..., 0]
    return mask


def strange_values(mask: Shaped[np.ndarray, "x y z"], values: Sequence[int]) -> list[float]:
    """What occurs in a mask besides 0 and `values`, sorted, NaN last."""
    strangers = mask[np.isin(mask, [0, *values], invert=True)]  # sorting all voxels is slow
    return [float(value) for value in np.unique(strangers)]


def unknown_values(
    strange: Sequence[float], values: Sequence[int], path: Path, case: str
) -> DefectError:
    """The error for values that no class is declared for."""
    shown = ", ".join(f"{value:g}" for value in strange[:SHOWN])
    more = f" and {len(strange) - SHOWN} more" if len(strange) > SHOWN else ""
    problem = f"unknown label values {shown}{more}; declared are 0 and {list(values)}"
    remedy = "mend the mask, or declare the class (data.classes)"
    if path.name.lower().endswith(LOSSY):
        remedy = "JPEG smears values: save masks as PNG"
    return defect_error(case, path, problem, remedy)
