"""Made-up ultrasound pictures of a gland, with and without a nodule, from two kinds of machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from salearn.data.generated import is_there
from salearn.data.pictures import encode_picture
from salearn.data.source import DATASET_JSON
from salearn.errors import ConfigError
from salearn.settings import Field, dump, settings
from salearn.store import write_json

CODE_VERSION = 1  # raise it when the pixels that come out change
TRUTH = "phantom.json"
EXTERNAL = "external"
INSIDE = 255  # value of the nodule in mask files, as most public sets have it
PER_PATIENT = 3  # most pictures of a patient


@settings
class UltrasoundSettings:
    """What is written beside the masked pictures.

    Attributes:
        seed: patient i depends on (seed, i) and on nothing else.
        unlabeled: further pictures without a mask.
        external: pictures of other machines, a data set of its own in the folder "external".
        empty: share of pictures without a nodule; their masks are empty.
        size: shortest and longest side in pixels; pictures differ in size.
    """

    seed: int = Field(default=0, ge=0)
    unlabeled: int = Field(default=0, ge=0)
    external: int = Field(default=0, ge=0)
    empty: float = Field(default=0.25, ge=0, le=1)
    size: tuple[int, int] = (72, 104)

    def __post_init__(self) -> None:
        if not 32 <= self.size[0] <= self.size[1]:
            raise ConfigError(f"size: {self.size}: need 32 <= shortest <= longest side")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """How one machine shows tissue.

    Attributes:
        grain: of the speckle, s.d. in pixels along columns and rows.
        range_db: dynamic range that is shown; less = harder contrast.
        gain_db: added before the range is cut.
        loss_db: lost from the top to the bottom of the picture.
        contrast: factor of all differences between tissues, in dB.
        shadows: chance of a shadow that has nothing to do with a nodule.
    """

    name: str
    grain: tuple[float, float]
    range_db: float
    gain_db: float
    loss_db: float
    contrast: float
    shadows: float


HOME = (
    Machine(
        name="linear_a", grain=(0.9, 0.6), range_db=50, gain_db=0, loss_db=5, contrast=1.0,
        shadows=0.25,
    ),
    Machine(
        name="linear_b", grain=(1.1, 0.7), range_db=55, gain_db=2, loss_db=8, contrast=0.9,
        shadows=0.3,
    ),
)  # fmt: skip
AWAY = (
    Machine(
        name="portable", grain=(1.7, 1.2), range_db=38, gain_db=-3, loss_db=13, contrast=0.75,
        shadows=0.5,
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Scan:
    """One picture; axes x (right) and y (up), one slice.

    Attributes:
        mask: 255 inside the nodule, 0 elsewhere.
        area: pixels of the nodule.
    """

    image: UInt8[np.ndarray, "x y 1"]
    mask: UInt8[np.ndarray, "x y 1"]
    machine: str

    @property
    def area(self) -> int:
        """Pixels of the nodule."""
        return int(np.count_nonzero(self.mask))


def make_patient(index: int, given: UltrasoundSettings, external: bool = False) -> list[Scan]:
    """All pictures of patient `index`: one machine, 1 to 3 views; equal for equal arguments."""
    rng = np.random.default_rng([given.seed, int(external), index])
    machines = AWAY if external else HOME
    machine = machines[int(rng.integers(len(machines)))]
    return [_scan(machine, given, rng) for _ in range(int(rng.integers(1, PER_PATIENT + 1)))]


def write_ultrasound(out: Path, cases: int, given: UltrasoundSettings | None = None) -> None:
    """Write `cases` PNG pictures with masks, in MSD layout with patients; see the settings.

    Written again with the same arguments, nothing is done.

    Raises:
        ConfigError: fewer than one case is asked for, or the folder holds another data set.
    """
    given = given or UltrasoundSettings()
    if cases < 1:
        raise ConfigError(f"phantoms: {cases} cases asked for, at least 1 can be made")
    if given.external:
        _write_set(out / EXTERNAL, given.external, 0, given, external=True)
    _write_set(out, cases, given.unlabeled, given, external=False)


def _write_set(
    out: Path, cases: int, unlabeled: int, given: UltrasoundSettings, external: bool
) -> None:
    order = {"kind": "ultrasound", "settings": dump(given), "num_cases": cases}
    order |= {"external": external, "code_version": CODE_VERSION}
    if is_there(out / DATASET_JSON, out / TRUTH, order):
        return
    truth: list[dict[str, Any]] = []
    lists: dict[str, list[dict[str, str]]] = {"training": [], "unlabeled": []}
    patient = 0
    while len(truth) < cases + unlabeled:
        for scan in make_patient(patient, given, external)[: cases + unlabeled - len(truth)]:
            part = "training" if len(truth) < cases else "unlabeled"
            name = f"us_{len(truth):04d}.png"
            lists[part].append(_write(out, part, name, scan) | {"patient": f"p{patient:04d}"})
            truth.append({"case": name[:-4], "machine": scan.machine, "nodule": scan.area})
        patient += 1
    write_json(out / TRUTH, order | {"cases": truth})
    write_json(out / DATASET_JSON, _datalist(lists, external))  # last: with it all is there


def _write(out: Path, part: str, name: str, scan: Scan) -> dict[str, str]:
    """The files of one picture, and its entry in the datalist."""
    folder = "imagesTr" if part == "training" else "imagesUn"
    (out / folder).mkdir(parents=True, exist_ok=True)
    encode_picture(out / folder / name, scan.image)
    entry = {"image": f"./{folder}/{name}"}
    if part == "training":
        (out / "labelsTr").mkdir(exist_ok=True)
        encode_picture(out / "labelsTr" / name, scan.mask)
        entry["label"] = f"./labelsTr/{name}"
    return entry


def _datalist(lists: dict[str, list[dict[str, str]]], external: bool) -> dict[str, Any]:
    return {
        "name": "UltrasoundExternal" if external else "Ultrasound",
        "description": "made-up ultrasound pictures of a gland with and without a nodule",
        "modality": {"0": "US"},
        "labels": {"0": "background", str(INSIDE): "nodule"},
        **lists,
    }


def _scan(machine: Machine, given: UltrasoundSettings, rng: np.random.Generator) -> Scan:
    low, high = given.size
    width, height = (int(n) for n in rng.integers(low, high + 1, 2))
    x, depth = np.meshgrid(
        np.arange(width) / width, np.arange(height) / height, indexing="ij"
    )  # 0..1; depth 0 = skin
    echo = _tissue(x, depth, rng)
    has = rng.random() >= given.empty
    inside = _nodule(x, depth, rng) if has else np.zeros(x.shape, bool)
    echo = _with_nodule(echo, inside, rng) * machine.contrast
    echo -= _shadows(x, depth, inside, machine, rng)
    echo += _speckle(echo.shape, machine, rng) + machine.gain_db - machine.loss_db * depth
    shown = np.clip((echo + 0.75 * machine.range_db) / machine.range_db, 0, 1)
    image = np.rint(255 * shown).astype(np.uint8)[:, ::-1, None]
    mask = np.where(inside, np.uint8(INSIDE), np.uint8(0))[:, ::-1, None]
    return Scan(image=image, mask=mask, machine=machine.name)


def _tissue(
    x: Float64[np.ndarray, "x d"], depth: Float64[np.ndarray, "x d"], rng: np.random.Generator
) -> Float64[np.ndarray, "x d"]:
    """Echo of skin, striped muscle and a gland, in dB below full scale."""
    from scipy.ndimage import gaussian_filter

    bend = gaussian_filter(rng.normal(size=x.shape[0]), 12)[:, None]
    level = depth + 0.15 * bend
    echo = -22 + 4 * np.sin(2 * np.pi * rng.uniform(6, 10) * level)
    echo = np.where(level < 0.08, -8.0, echo)
    centre, radius = rng.uniform((0.42, 0.5), (0.58, 0.6)), rng.uniform((0.4, 0.26), (0.48, 0.34))
    gland = ((x - centre[0]) / radius[0]) ** 2 + ((level - centre[1]) / radius[1]) ** 2 < 1
    patchy: np.ndarray = gaussian_filter(rng.normal(size=x.shape), 6)
    return np.asarray(np.where(gland, -13.0, echo) + 18 * patchy)


def _nodule(
    x: Float64[np.ndarray, "x d"], depth: Float64[np.ndarray, "x d"], rng: np.random.Generator
) -> Bool[np.ndarray, "x d"]:
    """A blob with a wavy rim inside the gland."""
    centre = rng.uniform((0.35, 0.45), (0.65, 0.65))
    radius = rng.uniform(0.08, 0.2) * np.array([1.0, rng.uniform(0.65, 1.1)])
    u, v = (x - centre[0]) / radius[0], (depth - centre[1]) / radius[1]
    angle = np.arctan2(v, u)
    waves = sum(
        rng.uniform(0, 0.12) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5)
    )
    return np.asarray(np.hypot(u, v) < 1 + waves)


def _with_nodule(
    echo: Float64[np.ndarray, "x d"], inside: Bool[np.ndarray, "x d"], rng: np.random.Generator
) -> Float64[np.ndarray, "x d"]:
    """Mostly darker than the gland, sometimes alike or brighter; the rim is soft."""
    from scipy.ndimage import gaussian_filter

    change = float(rng.choice([-12, -8, -5, 4], p=[0.35, 0.35, 0.2, 0.1]))
    soft: np.ndarray = gaussian_filter(inside.astype(np.float64), 0.8)
    return np.asarray(echo + change * soft)


def _shadows(
    x: Float64[np.ndarray, "x d"],
    depth: Float64[np.ndarray, "x d"],
    inside: Bool[np.ndarray, "x d"],
    machine: Machine,
    rng: np.random.Generator,
) -> Float64[np.ndarray, "x d"]:
    """Loss in dB: behind some nodules (or the opposite, enhancement), and behind anything else."""
    loss = np.zeros(x.shape)
    if inside.any():
        behind = (np.cumsum(inside, axis=1) > 0) & ~inside
        loss += behind * float(rng.choice([9.0, -4.0, 0.0]))
    if rng.random() < machine.shadows:
        at, width, top = rng.uniform((0.1, 0.04, 0.1), (0.9, 0.12, 0.6))
        loss += 12 * np.exp(-(((x - at) / width) ** 2)) * (depth > top)
    return loss


def _speckle(
    shape: tuple[int, ...], machine: Machine, rng: np.random.Generator
) -> Float64[np.ndarray, "x d"]:
    """Fully developed speckle: the logarithm of a Rayleigh envelope, grain as of the machine."""
    from scipy.ndimage import gaussian_filter

    parts = [gaussian_filter(rng.normal(size=shape), machine.grain) for _ in range(2)]
    envelope = np.hypot(*parts) / np.sqrt(2 * np.var(parts))
    return np.asarray(20 * np.log10(np.maximum(envelope, 1e-3)))
