"""Made-up MR-like volumes with masks in MSD layout, for the demo and for tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Shaped, UInt8

from salearn.data.generated import is_there
from salearn.data.nifti import encode, geometry_from_ras
from salearn.data.phantom_shape import (
    SHAPES,
    draw_body,
    draw_labels,
    draw_tissues,
    smooth_field,
)
from salearn.data.source import DATASET_JSON
from salearn.errors import ConfigError
from salearn.settings import Field, dump, settings
from salearn.store import write_json

CODE_VERSION = 1  # raise it when the voxels that come out change
TRUTH = "phantom.json"
FINE = 2  # voxels of the fine grid along one voxel edge: partial volume
CLASSES = {"0": "background", "1": "anterior", "2": "posterior"}


@settings
class PhantomSettings:
    """What is written beside the masked cases.

    Attributes:
        seed: case i depends on (seed, i) and on nothing else.
        unlabeled: further cases without a mask, numbered on.
        rare: share of cases with a rare shape.
    """

    seed: int = Field(default=0, ge=0)
    unlabeled: int = Field(default=0, ge=0)
    rare: float = Field(default=0.12, ge=0, le=1)


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """How one machine shows tissue.

    Attributes:
        share: how often it occurs.
        signal: fluid, gray, white, body; 1 = white of the first scanner.
        noise: standard deviation in each quadrature channel, as a share of 1.
        bias: strength of the slow multiplicative field.
        scale: what 1 is in the file.
        axes: order and direction in the file.
    """

    name: str
    share: float
    signal: tuple[float, float, float, float]
    noise: float
    bias: float
    scale: float
    dtype: str
    axes: str = "RAS"


SCANNERS = (
    Scanner(
        name="alpha",
        share=0.58,
        signal=(0.20, 0.70, 1.00, 0.55),
        noise=0.055,
        bias=0.10,
        scale=700.0,
        dtype="float32",
    ),
    Scanner(
        name="beta",
        share=0.22,
        signal=(0.15, 0.64, 0.95, 0.48),
        noise=0.07,
        bias=0.16,
        scale=85.0,
        dtype="uint8",
    ),
    Scanner(
        name="gamma",
        share=0.14,
        signal=(0.32, 0.76, 1.00, 0.63),
        noise=0.05,
        bias=0.22,
        scale=2.4e5,
        dtype="float32",
    ),
    Scanner(
        name="delta",
        share=0.06,
        signal=(0.12, 0.52, 0.72, 0.47),
        noise=0.09,
        bias=0.30,
        scale=1500.0,
        dtype="int16",
        axes="LPS",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Phantom:
    """One made-up case in RAS at 1 mm.

    Attributes:
        mask: 0 background, 1 anterior, 2 posterior.
        shape: one of phantom_shape.SHAPES.
    """

    image: Shaped[np.ndarray, "x y z"]
    mask: UInt8[np.ndarray, "x y z"]
    affine: Float64[np.ndarray, "4 4"]
    scanner: Scanner
    shape: str


def make_phantom(index: int, settings: PhantomSettings) -> Phantom:
    """Case `index`; equal for equal seed and index, however many are made."""
    rng = np.random.default_rng([settings.seed, index])
    scanner = SCANNERS[int(rng.choice(len(SCANNERS), p=[s.share for s in SCANNERS]))]
    kind = SHAPES[int(rng.integers(1, len(SHAPES)))] if rng.random() < settings.rare else SHAPES[0]
    size = (int(rng.integers(32, 41)), int(rng.integers(46, 57)), int(rng.integers(32, 41)))
    x, y, z = (n * FINE for n in size)
    labels, distance = draw_labels(draw_body(kind, rng), (x, y, z), 1 / FINE, rng)
    tissue = draw_tissues(distance, 1 / FINE, rng)
    affine = np.eye(4)
    affine[:3, 3] = rng.integers(-60, 61, 3)
    return Phantom(
        image=_scan(tissue, scanner, rng),
        mask=_majority(labels),
        affine=affine,
        scanner=scanner,
        shape=kind,
    )


def write_phantoms(out: Path, cases: int, settings: PhantomSettings | None = None) -> None:
    """Write `cases` volumes with masks and `settings.unlabeled` without, in MSD layout.

    dataset.json lists them (those without a mask under "unlabeled"); phantom.json holds scanner
    and shape of each case. Written again with the same arguments, nothing is done.

    Raises:
        ConfigError: fewer than one case is asked for, or the folder holds another data set.
    """
    settings = settings or PhantomSettings()
    if cases < 1:
        raise ConfigError(f"phantoms: {cases} cases asked for, at least 1 can be made")
    order = {"settings": dump(settings), "num_cases": cases, "code_version": CODE_VERSION}
    if is_there(out / DATASET_JSON, out / TRUTH, order):
        return
    truth: list[dict[str, Any]] = []
    entries: dict[bool, list[dict[str, str]]] = {True: [], False: []}
    for index in range(cases + settings.unlabeled):
        phantom, name = make_phantom(index, settings), f"phantom_{index:03d}.nii.gz"
        masked = index < cases
        entry = {"image": f"./{'imagesTr' if masked else 'imagesUn'}/{name}"}
        _write(out / entry["image"], phantom.image, phantom)
        if masked:
            entry["label"] = f"./labelsTr/{name}"
            _write(out / entry["label"], phantom.mask, phantom)
        entries[masked].append(entry)
        row = {"case": name[:-7], "scanner": phantom.scanner.name, "shape": phantom.shape}
        truth.append(row | {"masked": masked})
    write_json(out / TRUTH, order | {"cases": truth})
    write_json(
        out / DATASET_JSON, _datalist(entries[True], entries[False])
    )  # last: with it all is there


def _scan(
    tissue: UInt8[np.ndarray, "fx fy fz"], scanner: Scanner, rng: np.random.Generator
) -> Shaped[np.ndarray, "x y z"]:
    """What a scanner makes of tissue: texture, partial volume, bias field, Rician noise."""
    signal = np.array(scanner.signal, np.float32) * rng.normal(1, 0.03, 4).astype(np.float32)
    clean = _mean_of_blocks(signal[tissue])
    shape = clean.shape
    texture = 0.035 * smooth_field(shape, 2.0, rng) + 0.02 * smooth_field(shape, 5.0, rng)
    bias = np.exp(scanner.bias * smooth_field(shape, 25.0, rng))
    real = clean * (1 + texture) * bias + scanner.noise * _white(shape, rng)
    seen = np.hypot(real, scanner.noise * _white(shape, rng))
    scaled = seen * scanner.scale * rng.uniform(0.8, 1.2)
    dtype = np.dtype(scanner.dtype)
    if dtype.kind == "f":
        return scaled.astype(dtype)
    return np.clip(np.rint(scaled), 0, np.iinfo(dtype).max).astype(dtype)


def _white(shape: tuple[int, ...], rng: np.random.Generator) -> Float32[np.ndarray, "x y z"]:
    return rng.standard_normal(shape, dtype=np.float32)


def _mean_of_blocks(
    fine: Float32[np.ndarray, "fx fy fz"],
) -> Float32[np.ndarray, "x y z"]:
    """Mean over blocks of FINE voxels along each axis."""
    x, y, z = (n // FINE for n in fine.shape)
    mean: np.ndarray = fine.reshape(x, FINE, y, FINE, z, FINE).mean(axis=(1, 3, 5))
    return mean


def _majority(labels: UInt8[np.ndarray, "fx fy fz"]) -> UInt8[np.ndarray, "x y z"]:
    """The class of each voxel: body where at least half of the block is, then the larger part."""
    one, two = (_mean_of_blocks((labels == k).astype(np.float32)) for k in (1, 2))
    return np.where(one + two >= 0.5, np.where(one >= two, 1, 2), 0).astype(np.uint8)


def _write(path: Path, array: Shaped[np.ndarray, "x y z"], phantom: Phantom) -> None:
    """Write on the axes of the phantom's scanner."""
    x, y, z = array.shape
    encode(path, array, geometry_from_ras((x, y, z), phantom.affine, phantom.scanner.axes))


def _datalist(training: Sequence[Any], unlabeled: Sequence[Any]) -> dict[str, Any]:
    return {
        "name": "Phantom",
        "description": "made-up volumes: a bent body of two parts in textured tissue",
        "tensorImageSize": "3D",
        "modality": {"0": "MRI"},
        "labels": CLASSES,
        "numTraining": len(training),
        "training": training,
        "unlabeled": unlabeled,
        "test": [],
    }
