"""One PNG or JPEG file <-> one array in RAS, with an extent of 1 along z.

A picture is looked at with its first row on top, so columns run along +x and rows along -y; the
report's panels then show it upright. Where nobody knows the size of a pixel, its side is 1: lengths
are pixels.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from salearn.data.nifti import Decoded, Geometry
from salearn.data.source import LOSSY, PICTURES, defect_error
from salearn.store import atomic

ROOM = {np.dtype(np.uint8): "L", np.dtype(np.uint16): "I;16"}


def decode_picture(path: Path, case: str) -> Decoded:
    """Read one picture: integers of 8 or 16 bits, one channel (gray) or three (RGB).

    A colour picture whose three channels agree everywhere is gray. Transparency is left out, a
    palette gives its indices (masks are stored so), and a turn that a camera noted is made.

    Raises:
        DataError: missing, damaged, or of a kind that is neither gray nor RGB.
    """
    rows = _pixels(path, case)
    array = np.moveaxis(rows, 0, 1)[:, ::-1, None, :]  # x = column, y = up
    width, height = array.shape[:2]
    geometry = picture_geometry(width, height)
    return Decoded(array=np.ascontiguousarray(array), geometry=geometry, integer=True)


def picture_geometry(width: int, height: int) -> Geometry:
    """The grid of a picture: its own axes are column, row, and one slice; a pixel is 1 x 1."""
    affine = np.diag([1.0, -1.0, 1.0, 1.0])
    affine[1, 3] = height - 1.0
    return Geometry(shape=(width, height, 1), affine=affine)


def read_picture_geometry(path: Path, case: str) -> tuple[Geometry, int]:
    """The grid of a picture and 1, from its header alone.

    Raises:
        DataError: missing or damaged.
    """
    with _opened(path, case) as image:
        width, height = image.size
        turned = image.getexif().get(0x0112, 1) >= 5  # the four turns by a quarter
    return picture_geometry(*((height, width) if turned else (width, height))), 1


def encode_picture(path: Path, array: Shaped[np.ndarray, "x y z"]) -> None:
    """Write whole numbers in RAS as a PNG, first row on top, atomically.

    Raises:
        ValueError: another ending, several slices, or numbers beyond 16 bits.
    """
    from PIL import Image

    if path.suffix.lower() != ".png":
        raise ValueError(f"{path}: pictures are written as .png (JPEG would smear the values)")
    if array.ndim != 3 or array.shape[2] != 1:
        raise ValueError(f"{path}: a picture has one slice, not {array.shape}; write .nii.gz")
    small = np.promote_types(np.min_scalar_type(array.max()), np.min_scalar_type(array.min()))
    if small not in ROOM:
        raise ValueError(f"{path}: values up to {array.max()} fit neither 8 nor 16 bits")
    rows = np.ascontiguousarray(np.moveaxis(array[:, ::-1, 0], 0, 1).astype(small))
    content = io.BytesIO()
    Image.fromarray(rows).save(content, format="PNG")
    with atomic(path) as temporary:
        temporary.write_bytes(content.getvalue())


def lossy(path: Path) -> bool:
    """Whether the values of a file are not exactly those that were written (JPEG)."""
    return path.name.lower().endswith(LOSSY)


def _pixels(path: Path, case: str) -> Shaped[np.ndarray, "row column channel"]:
    from PIL import ImageOps

    with _opened(path, case) as image:
        if getattr(image, "n_frames", 1) > 1:
            problem = f"holds {image.n_frames} frames"
            raise defect_error(case, path, problem, "write every frame to a file of its own")
        try:
            array = np.asarray(ImageOps.exif_transpose(_plain(image)))
        except (OSError, ValueError, SyntaxError) as error:
            raise _damaged(path, case, error) from None
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    if array.dtype.kind not in "iu" or array.ndim not in (2, 3):
        problem = f"holds {array.dtype} pixels of shape {array.shape}"
        raise defect_error(case, path, problem, "store 8 or 16 bits, gray or RGB")
    return _channels(array[..., None] if array.ndim == 2 else array)


def _plain(image: Any) -> Any:
    """Without transparency, and in a mode that gives plain numbers."""
    modes = {"LA": "L", "La": "L", "RGBA": "RGB", "RGBa": "RGB", "RGBX": "RGB", "CMYK": "RGB"}
    target = modes.get(image.mode, "RGB" if image.mode in {"YCbCr", "HSV", "LAB"} else None)
    return image if target is None else image.convert(target)


def _channels(array: np.ndarray) -> np.ndarray:
    """One channel where all three agree."""
    if array.shape[2] == 3 and (array == array[..., :1]).all():
        return array[..., :1]
    return array


def _opened(path: Path, case: str) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(path)
    except FileNotFoundError:
        raise defect_error(case, path, "the file is missing", "add it") from None
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise _damaged(path, case, error) from None


def _damaged(path: Path, case: str, error: BaseException) -> Exception:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    remedy = f"replace it by an intact file ({', '.join(PICTURES)})"
    return defect_error(case, path, f"cannot be read ({reason})", remedy)
