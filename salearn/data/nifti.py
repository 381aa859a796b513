"""One NIfTI file <-> one array in RAS: decode, encode, and compare grids."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from jaxtyping import Float64, Shaped
from nibabel import orientations
from nibabel.affines import voxel_sizes
from nibabel.filebasedimages import ImageFileError

from salearn.data.source import ENDINGS, defect_error, is_picture
from salearn.store import atomic

RAS = orientations.axcodes2ornt(("R", "A", "S"))
TOLERANCE = 1e-3  # of the smallest spacing
NIFTI2_HEADER = 540  # bytes


@dataclass(frozen=True, kw_only=True, eq=False)
class Geometry:
    """The grid of a file as it lies on disk.

    Attributes:
        shape: voxels along the file's own three axes.
        affine: voxel index -> mm, as nibabel chooses it (sform, else qform, else spacing only).
        header: the file's NIfTI header, so that a result can carry the very same qform and sform.
    """

    shape: tuple[int, int, int]
    affine: Float64[np.ndarray, "4 4"]
    header: bytes = b""

    @property
    def orientation(self) -> str:
        """Where the file's axes point, e.g. "LPS"."""
        return "".join(str(code) for code in nib.aff2axcodes(self.affine))

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size along the file's own axes in mm."""
        x, y, z = (float(size) for size in voxel_sizes(self.affine))
        return x, y, z

    @cached_property
    def to_ras(self) -> Shaped[np.ndarray, "3 2"]:
        """nibabel orientation that brings the file's axes closest to RAS."""
        moves: np.ndarray = nib.io_orientation(self.affine)
        return moves

    @property
    def ras_shape(self) -> tuple[int, int, int]:
        """Voxels along x, y, z after reorientation."""
        order = np.argsort(self.to_ras[:, 0])
        x, y, z = (int(self.shape[axis]) for axis in order)
        return x, y, z

    @property
    def ras_affine(self) -> Float64[np.ndarray, "4 4"]:
        """Voxel index -> mm after reorientation."""
        made: np.ndarray = self.affine @ orientations.inv_ornt_aff(self.to_ras, self.shape)
        return made

    @property
    def ras_spacing(self) -> tuple[float, float, float]:
        """Voxel size along x, y, z in mm after reorientation."""
        x, y, z = (float(size) for size in voxel_sizes(self.ras_affine))
        return x, y, z


def geometry_from_ras(
    shape: tuple[int, int, int], affine: Float64[np.ndarray, "4 4"], axes: str
) -> Geometry:
    """The grid of a file that holds a RAS grid along other axes, e.g. "LPS"."""
    moves = orientations.ornt_transform(RAS, orientations.axcodes2ornt(tuple(axes)))
    x, y, z = (int(shape[axis]) for axis in np.argsort(moves[:, 0]))
    turned = np.asarray(affine @ orientations.inv_ornt_aff(moves, shape), dtype=np.float64)
    return Geometry(shape=(x, y, z), affine=turned)


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """The voxels of one file in RAS; axis 3 holds the channels.

    Attributes:
        array: integers as stored if the file holds integers, else float32.
        integer: whether the file holds integers (unscaled).
    """

    array: Shaped[np.ndarray, "x y z channel"]
    geometry: Geometry
    integer: bool


def decode(path: Path, case: str) -> Decoded:
    """Read one file (NIfTI; PNG and JPEG by salearn.data.pictures) and turn it to RAS.

    Raises:
        DataError: missing, not NIfTI, truncated, not 3-D or 4-D, or with an unusable affine.
    """
    if is_picture(path):
        from salearn.data.pictures import decode_picture

        return decode_picture(path, case)
    image = _load(path, case)
    integer = image.get_data_dtype().kind in "iub" and _unscaled(image)
    array = _voxels(image, path, case, integer)
    affine = np.asarray(image.affine, dtype=np.float64)
    if not np.isfinite(affine).all() or np.linalg.matrix_rank(affine) < 4:
        remedy = "write a valid qform or sform (spacing and axes)"
        raise defect_error(case, path, "the affine is singular or not finite", remedy)
    x, y, z = (int(size) for size in array.shape[:3])
    geometry = Geometry(shape=(x, y, z), affine=affine, header=_header(image))
    turned = orientations.apply_orientation(array, geometry.to_ras)
    return Decoded(array=turned, geometry=geometry, integer=integer)


def read_geometry(path: Path, case: str) -> tuple[Geometry, int]:
    """The grid of a file and how many volumes it holds, from its header alone.

    Raises:
        DataError: missing, not NIfTI, or not 3-D or 4-D.
    """
    if is_picture(path):
        from salearn.data.pictures import read_picture_geometry

        return read_picture_geometry(path, case)
    image = _load(path, case)
    shape = [int(size) for size in image.shape]
    if len(shape) not in (3, 4):
        problem = f"has shape {tuple(shape)}"
        raise defect_error(case, path, problem, "give a volume x y z, or x y z phase")
    affine = np.asarray(image.affine, dtype=np.float64)
    geometry = Geometry(shape=(shape[0], shape[1], shape[2]), affine=affine, header=_header(image))
    return geometry, shape[3] if len(shape) == 4 else 1


def encode(path: Path, array: Shaped[np.ndarray, "x y z"], geometry: Geometry) -> None:
    """Write an array in RAS to the original grid, axes and affine of `geometry`, atomically.

    Raises:
        ValueError: the array has another shape than the grid, or the path has another ending.
    """
    if array.shape != geometry.ras_shape:
        raise ValueError(f"{path}: array {array.shape} does not fit the grid {geometry.ras_shape}")
    if is_picture(path):
        from salearn.data.pictures import encode_picture

        encode_picture(path, array)
        return
    if not path.name.endswith(ENDINGS):
        raise ValueError(f"{path}: results are written as {' or '.join(ENDINGS)}")
    back = orientations.ornt_transform(RAS, geometry.to_ras)
    turned = orientations.apply_orientation(array, back)
    write_image(path, turned, geometry.affine, geometry.header)


def write_image(
    path: Path,
    array: Shaped[np.ndarray, "x y z *phase"],
    affine: Float64[np.ndarray, "4 4"],
    header: bytes = b"",
) -> None:
    """Write a NIfTI file (a fourth axis = phases) atomically; equal arguments give equal bytes."""
    second = len(header) == NIFTI2_HEADER
    kind = nib.Nifti2Image if second else nib.Nifti1Image
    old = kind.header_class(header, check=False) if header else None
    image = kind(array, affine, old, dtype=array.dtype)
    image.header.set_data_dtype(array.dtype)
    content = image.to_bytes()
    if path.name.endswith(".gz"):
        content = gzip.compress(content, compresslevel=1, mtime=0)
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def require_same_grid(first: Geometry, second: Geometry, path: Path, case: str, what: str) -> None:
    """Refuse a file that does not lie on the grid of the first.

    Raises:
        DataError: shape differs, or an affine entry by more than 1e-3 of the smallest spacing.
    """
    remedy = f"resample it onto the grid of the {what}"
    if first.ras_shape != second.ras_shape:
        problem = f"shape {second.ras_shape} (RAS) differs from {first.ras_shape} of the {what}"
        raise defect_error(case, path, problem, remedy)
    off = float(np.abs(first.ras_affine - second.ras_affine).max())
    if off > TOLERANCE * min(first.ras_spacing):
        problem = f"the affine differs from that of the {what} by up to {off:.4g} mm"
        raise defect_error(case, path, problem, remedy)


def _load(path: Path, case: str) -> Any:
    try:
        return nib.load(path)
    except FileNotFoundError:
        raise defect_error(case, path, "the file is missing", "add it") from None
    except (ImageFileError, OSError, EOFError, zlib.error, ValueError) as error:
        remedy = "replace it by an intact NIfTI file"
        raise defect_error(case, path, f"cannot be read ({_first_line(error)})", remedy) from None


def _voxels(image: Any, path: Path, case: str, integer: bool) -> np.ndarray:
    if image.get_data_dtype().kind in "cV":
        problem = f"holds {image.get_data_dtype()} voxels"
        raise defect_error(case, path, problem, "store real numbers, one volume a channel")
    try:
        with np.errstate(over="ignore"):  # what does not fit float32 becomes Inf, reported later
            dtype = image.get_data_dtype().newbyteorder("=") if integer else np.float32
            array = np.asanyarray(image.dataobj, dtype=dtype)
    except (OSError, EOFError, zlib.error, ValueError, TypeError, MemoryError) as error:
        problem = f"the voxels cannot be read ({_first_line(error)})"
        raise defect_error(case, path, problem, "replace it by an intact NIfTI file") from None
    while array.ndim > 4 and 1 in array.shape[3:]:
        array = np.squeeze(array, axis=3 + array.shape[3:].index(1))
    array = array[..., None] if array.ndim == 3 else array
    if array.ndim != 4 or 0 in array.shape:
        problem = f"has shape {image.shape}"
        raise defect_error(case, path, problem, "give a volume x y z or x y z channel")
    return array


def _unscaled(image: Any) -> bool:
    proxy = image.dataobj
    return bool(getattr(proxy, "slope", 1) == 1 and getattr(proxy, "inter", 0) == 0)


def _header(image: Any) -> bytes:
    header = image.header
    if not isinstance(header, nib.Nifti1Header):  # NIfTI-2 is a subclass of it
        return b""
    return bytes(header.as_byteswapped("<").binaryblock)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
