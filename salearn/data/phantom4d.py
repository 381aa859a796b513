"""A breathing thorax as 4-D CT with exact motion truth: lungs, heart, tumour."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Float64, Int16, UInt8

from salearn.data.generated import is_there
from salearn.data.nifti import write_image
from salearn.data.phantom4d_shape import Point, Shift, Thorax, draw_phase, draw_thorax
from salearn.data.phantom_shape import smooth_field
from salearn.errors import ConfigError
from salearn.settings import Field, dump, settings
from salearn.store import write_json

CODE_VERSION = 1  # raise it when the voxels that come out change
DECLARATION, TRUTH = "phases.json", "phantom4d.json"
CLASSES = {"lung": 1, "heart": 2, "tumour": 3}
NOISE_HU = 28.0


@settings
class Phantom4dSettings:
    """What the thorax does and how it is written.

    Attributes:
        seed: case i depends on (seed, i) and on nothing else.
        shape: voxels; spacing: mm.
        phases: of a breath.
        kind: "cyclic" = bins of equal time, phase 0 = end of inhale; "amplitude" = bins of depth
            from full exhale to full inhale, without hysteresis.
        irregular: s.d. of the depth of the breath that each phase is taken from, as a share.
        missorted: probability that a phase shows a band of slices of another phase.
        layout: a folder of phases per case, or one 4-D file.
        annotated: masks on all phases, on one (a random one), or on some (a third).
    """

    seed: int = Field(default=0, ge=0)
    shape: tuple[int, int, int] = (64, 64, 24)
    spacing: tuple[float, float, float] = (4.0, 4.0, 6.0)
    phases: int = Field(default=10, ge=2, le=99)
    kind: Literal["cyclic", "amplitude"] = "cyclic"
    irregular: float = Field(default=0.1, ge=0)
    missorted: float = Field(default=0.15, ge=0, le=1)
    layout: Literal["folder", "4d"] = "folder"
    annotated: Literal["all", "one", "some"] = "all"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the phases, in order: percent of the cycle, or numbers of bins."""
        if self.kind == "cyclic" and 100 % self.phases == 0:
            return tuple(f"{100 // self.phases * k:02d}" for k in range(self.phases))
        return tuple(f"{k:02d}" for k in range(self.phases))


@dataclass(frozen=True, kw_only=True, eq=False)
class Phantom4d:
    """One case.

    Attributes:
        images: HU. masks: exact, whatever the images show of sorting errors.
        truth: shifts in mm of every phase, and what is wrong with the images.
    """

    images: Int16[np.ndarray, "phase x y z"]
    masks: UInt8[np.ndarray, "phase x y z"]
    affine: Float64[np.ndarray, "4 4"]
    truth: dict[str, Any]


def make_phantom4d(index: int, given: Phantom4dSettings) -> Phantom4d:
    """Case `index`; equal for equal seed and index, however many are made."""
    rng = np.random.default_rng([given.seed, index])
    x, y, z = (n * step for n, step in zip(given.shape, given.spacing, strict=True))
    thorax = draw_thorax(rng, (x, y, z))
    shifts, depth = _breath(given, rng)
    drawn = [draw_phase(thorax, shift, given.shape, given.spacing) for shift in shifts]
    clean = np.stack([hu for hu, _ in drawn])
    bands = _missort(clean, given.missorted, rng)
    affine = np.diag([*given.spacing, 1.0])
    affine[:3, 3] = [-0.5 * side for side in (x, y, z)]
    return Phantom4d(
        images=_scan(clean, rng),
        masks=np.stack([mask for _, mask in drawn]),
        affine=affine,
        truth=_truth(thorax, shifts, depth, bands),
    )


def _breath(given: Phantom4dSettings, rng: np.random.Generator) -> tuple[list[Shift], list[float]]:
    """Shifts of every phase: A cos^2n(pi k / P) from full exhale, and the depths of the breaths.

    The front-to-back motion of the tumour lags behind, so its path is a loop.
    """
    amplitude = rng.uniform(8.0, 18.0)
    power = int(rng.integers(1, 4))
    lag = rng.uniform(0.06, 0.12) * rng.choice([-1.0, 1.0])
    front = rng.uniform(2.0, 5.0)
    depth = np.clip(rng.normal(1.0, given.irregular, given.phases), 0.5, 1.5)
    k = np.arange(given.phases) / given.phases
    if given.kind == "cyclic":
        level, late = (np.cos(np.pi * (k - by)) ** (2 * power) for by in (0.0, lag))
    else:
        level = late = np.arange(given.phases) / (given.phases - 1)
    shifts = [
        Shift(
            tumour=(0.1 * front * a, front * b, -amplitude * a),
            heart=(0.0, 0.3 * front * a, -0.45 * amplitude * a),
            diaphragm=-1.15 * amplitude * a,
            wall=0.5 * front * a,
        )
        for a, b in zip(level * depth, late * depth, strict=True)
    ]
    return shifts, [float(d) for d in depth]


def _missort(
    images: Float32[np.ndarray, "phase x y z"], share: float, rng: np.random.Generator
) -> list[dict[str, int]]:
    """Put bands of slices of a phase two on into some phases, in place; where that was done."""
    source, bands = images.copy(), []
    phases, slices = images.shape[0], images.shape[3]
    for phase in range(phases):
        wrong, start = rng.random() < share, int(rng.integers(0, max(1, slices - 4)))
        other = (phase + int(rng.choice([-2, 2]))) % phases
        if wrong and phases > 2:
            stop = min(slices, start + 4)
            images[phase, :, :, start:stop] = source[other, :, :, start:stop]
            bands.append({"phase": phase, "shows": other, "first": start, "stop": stop})
    return bands


def _scan(
    clean: Float32[np.ndarray, "phase x y z"], rng: np.random.Generator
) -> Int16[np.ndarray, "phase x y z"]:
    """Texture that is the same in all phases, and noise that is not."""
    x, y, z = clean.shape[1:]
    texture = 12.0 * smooth_field((x, y, z), 3.0, rng)
    noise = NOISE_HU * rng.standard_normal(clean.shape, dtype=np.float32)
    seen = np.where(clean > -950, clean + texture, clean) + noise
    stored: np.ndarray = np.clip(np.rint(seen), -1024, 3071).astype(np.int16)
    return stored


def _truth(
    thorax: Thorax, shifts: list[Shift], depth: list[float], bands: list[dict[str, int]]
) -> dict[str, Any]:
    def rounded(point: Point) -> list[float]:
        return [round(float(value), 4) for value in point]

    return {
        "tumour_radius_mm": round(thorax.tumour, 4),
        "tumour_at_mm": rounded(thorax.tumour_at),
        "tumour_shift_mm": [rounded(s.tumour) for s in shifts],
        "heart_shift_mm": [rounded(s.heart) for s in shifts],
        "diaphragm_shift_mm": [round(float(s.diaphragm), 4) for s in shifts],
        "depth": [round(d, 4) for d in depth],
        "missorted": bands,
    }


def write_phantom4d(out: Path, cases: int, given: Phantom4dSettings | None = None) -> None:
    """Write `cases` thoraxes, phases.json (order, kind, files) and phantom4d.json (exact truth).

    Written again with the same arguments, nothing is done.

    Raises:
        ConfigError: fewer than one case is asked for, or the folder holds another data set.
    """
    given = given or Phantom4dSettings()
    if cases < 1:
        raise ConfigError(f"phantom4d: {cases} cases asked for, at least 1 can be made")
    order = {"settings": dump(given), "num_cases": cases, "code_version": CODE_VERSION}
    if is_there(out / DECLARATION, out / TRUTH, order):
        return
    rows = []
    for index in range(cases):
        made, name = make_phantom4d(index, given), f"thorax_{index:03d}"
        marked = _marked(given, index)
        _write_case(out, name, made, given, marked)
        rows.append({"case": name, "annotated": [given.names[k] for k in marked], **made.truth})
    write_json(out / TRUTH, order | {"cases": rows})
    write_json(out / DECLARATION, _declaration(given))  # last: with it all is there


def _marked(given: Phantom4dSettings, index: int) -> list[int]:
    """Phases with a mask."""
    rng = np.random.default_rng([given.seed, index, 1])
    number = {"all": given.phases, "one": 1, "some": max(1, given.phases // 3)}[given.annotated]
    return sorted(rng.choice(given.phases, number, replace=False).tolist())


def _write_case(
    out: Path, name: str, made: Phantom4d, given: Phantom4dSettings, marked: list[int]
) -> None:
    if given.layout == "4d":
        write_image(out / "images" / f"{name}.nii.gz", np.moveaxis(made.images, 0, 3), made.affine)
    whole = given.layout == "4d" and len(marked) == given.phases
    if whole:
        write_image(out / "masks" / f"{name}.nii.gz", np.moveaxis(made.masks, 0, 3), made.affine)
    for k, phase in enumerate(given.names):
        if given.layout == "folder":
            file = out / "images" / name / f"{phase}.nii.gz"
            write_image(file, made.images[k], made.affine)
        if k in marked and not whole:
            write_image(out / "masks" / name / f"{phase}.nii.gz", made.masks[k], made.affine)


def _declaration(given: Phantom4dSettings) -> dict[str, Any]:
    end = "/{phase}.nii.gz"
    images = ".nii.gz" if given.layout == "4d" else end
    masks = ".nii.gz" if given.layout == "4d" and given.annotated == "all" else end
    return {
        "name": "Phantom4d",
        "kind": given.kind,
        "phases": list(given.names),
        "images": "images/{case}" + images,
        "masks": "masks/{case}" + masks,
        "classes": CLASSES,
    }
