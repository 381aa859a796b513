"""4-D at clinical size: 10 phases of 256x256x100 filtered, united and measured.

The plain counterpart is what the literal text of the voxel form invites: a loop over voxels that
walks along each voxel's phases. It is timed on a part of the volume and scaled to the whole; the
answers on the part must be the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.common import Row, check, cpu_seconds, emit, lone_row, one_thread, peak_mib
from salearn.motion.components import ComponentRule
from salearn.motion.filters import FilterSettings, apply_filter
from salearn.motion.score import score_itv

SHAPE, PHASES = (256, 256, 100), 10
SPACING = (1.0, 1.0, 2.0)
PART = (slice(None), slice(96, 128), slice(96, 128), slice(30, 50))
RUN = 3


def phases() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and truth of an organ of 2 litres that moves by 15 mm, with false blobs."""
    rng = np.random.default_rng(0)
    axes = [np.arange(n, dtype=np.float32) * s for n, s in zip(SHAPE, SPACING, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    probabilities = np.zeros((PHASES, *SHAPE), np.float32)
    truth = np.zeros((PHASES, *SHAPE), bool)
    for k in range(PHASES):
        shift = 15 * np.cos(np.pi * k / PHASES) ** 4
        level = ((x - 128) / 75) ** 2 + ((y - 128) / 65) ** 2 + ((z - 100 + shift) / 70) ** 2
        truth[k] = level < 1
        probabilities[k] = 1 / (1 + np.exp(8 * (level - 1)))
        for _ in range(40):
            a, b, c = (int(rng.integers(0, n - 6)) for n in SHAPE)
            probabilities[k, a : a + 5, b : b + 5, c : c + 3] = 0.8
    return probabilities, truth


def plain(probabilities: np.ndarray) -> np.ndarray:
    """The voxel form, voxel by voxel."""
    on = probabilities > 0.5
    kept = np.zeros_like(on)
    count = len(on)
    for a in range(on.shape[1]):
        for b in range(on.shape[2]):
            for c in range(on.shape[3]):
                voxel = on[:, a, b, c].tolist()
                for start in range(count):
                    places = [(start + step) % count for step in range(RUN)]
                    if all(voxel[k] for k in places):
                        kept[places, a, b, c] = True
    return kept


def rows() -> Iterator[Row]:
    """Each filter with the metrics; then the voxel form against the plain loop."""
    with one_thread(torch=False):
        probabilities, truth = phases()
        rule = ComponentRule(keep=1)
        for name in ("voxel", "component", "component+connectivity", "soft"):
            how = FilterSettings(name=name, run=RUN)

            def whole(how: FilterSettings = how) -> dict[str, float]:
                kept = apply_filter(probabilities, SPACING, how, True, rule)
                return score_itv(kept, truth, SPACING, cyclic=True)

            what = f"{name}: filter + ITV + metrics, 10 x 256x256x100"
            seconds = cpu_seconds(whole)
            yield lone_row("motion", what, 1, float(f"{seconds:.3g}"), peak_mib(whole))
        yield _against_plain(probabilities)


def _against_plain(probabilities: np.ndarray) -> Row:
    how = FilterSettings(name="voxel", run=RUN)
    part = np.ascontiguousarray(probabilities[PART])
    found: list[np.ndarray] = []
    share = part[0].size / probabilities[0].size
    other = cpu_seconds(lambda: found.append(plain(part))) / share
    mine = sorted(
        cpu_seconds(lambda: apply_filter(probabilities, SPACING, how, True)) for _ in range(3)
    )
    what = "voxel form alone, 10 x 256x256x100"
    ours = apply_filter(part, SPACING, how, True)
    gap = check(what, ours.astype(float), found[0].astype(float), 0.0)
    row = lone_row("motion", what, 3, float(f"{mine[1]:.3g}"), None)
    compared = {
        "against": f"loop over voxels, {share:.2%} of them timed",
        "other_cpu_s": float(f"{other:.3g}"),
        "ratio": round(other / mine[1], 1),
        "ratio_range": (round(other / mine[2], 1), round(other / mine[0], 1)),
        "difference": gap,
    }
    return Row(**row | compared)  # type: ignore[typeddict-item]


if __name__ == "__main__":
    emit(rows())
