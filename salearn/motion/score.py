"""A predicted internal target volume against the reference one."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from salearn.metrics.overlap import Counts, ratio
from salearn.metrics.surface import SurfaceSettings, surface_scores
from salearn.motion.components import Spacing
from salearn.motion.itv import core, internal_target
from salearn.motion.metrics import describe_motion, margins

ML = 1e-3  # of a mm^3


def score_itv(
    prediction: Bool[np.ndarray, "phase x y z"],
    reference: Bool[np.ndarray, "_phase _x _y _z"],
    spacing: Spacing,
    cyclic: bool,
    reference_phase: int = 0,
    votes: int = 1,
    how: SurfaceSettings | None = None,
) -> dict[str, float]:
    """ITV overlap, distances (mm), volumes (ml), margins and motion of one structure.

    The reference ITV is the union over its phases. Motion, margins and ratios of the reference
    have the prefix "reference_". Empty predictions are defined: Dice and coverage 0, HD95 as
    `how.empty` says, motion NaN.

    Args:
        reference_phase: index of the phase that margins and ratios are measured from.
        votes: phases a voxel needs to be in the predicted ITV.

    Raises:
        ValueError: shapes differ.

    Source: reference section 8.4.
    """
    if prediction.shape != reference.shape:
        raise ValueError(f"prediction {prediction.shape} and reference {reference.shape} differ")
    target, truth = internal_target(prediction, votes), internal_target(reference)
    scores = target_scores(target, truth, spacing, how or SurfaceSettings())
    for prefix, masks, volume in (("", prediction, target), ("reference_", reference, truth)):
        found = describe_motion(masks, spacing, cyclic)
        found |= margins(volume, masks[reference_phase], spacing)
        found |= volumes(masks, volume, spacing, reference_phase)
        scores |= {prefix + name: value for name, value in found.items()}
    return scores


def target_scores(
    target: Bool[np.ndarray, "x y z"],
    truth: Bool[np.ndarray, "x y z"],
    spacing: Spacing,
    how: SurfaceSettings,
) -> dict[str, float]:
    """dice, coverage (= sensitivity), excess, false_positive_ml, missed_ml, hd95_mm, ... of an ITV.

    Coverage is |P and R| / |R|, excess |P without R| / |R|.
    """
    tp = int(np.count_nonzero(target & truth))
    counts = Counts(
        tp=tp,
        fp=int(np.count_nonzero(target)) - tp,
        fn=int(np.count_nonzero(truth)) - tp,
        tn=int(np.count_nonzero(~(target | truth))),
    )
    voxel = float(np.prod(spacing)) * ML
    diagonal = float(np.linalg.norm(np.multiply(target.shape, spacing)))
    far = surface_scores(target, truth, spacing, diagonal, how)
    return {
        "dice": counts.dice,
        "coverage": counts.sensitivity,
        "excess": ratio(counts.fp, counts.tp + counts.fn),
        "false_positive_ml": counts.fp * voxel,
        "missed_ml": counts.fn * voxel,
        **far,
    }


def volumes(
    masks: Bool[np.ndarray, "phase x y z"],
    target: Bool[np.ndarray, "x y z"],
    spacing: Spacing,
    reference_phase: int,
) -> dict[str, float]:
    """itv_ml, phase_ml and core_ml, and the ITV over both; NaN over nothing."""
    sizes = [int(np.count_nonzero(m)) for m in (target, masks[reference_phase], core(masks))]
    voxel = float(np.prod(spacing)) * ML
    names = ("itv_ml", "phase_ml", "core_ml")
    found = {name: size * voxel for name, size in zip(names, sizes, strict=True)}
    return found | {
        "itv_over_phase": ratio(sizes[0], sizes[1]),
        "itv_over_core": ratio(sizes[0], sizes[2]),
    }
