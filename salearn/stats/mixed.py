"""Mixed model of paired differences for tables that are not balanced; needs statsmodels."""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from salearn.errors import ConfigError
from salearn.stats.refuse import check_enough, check_unit
from salearn.stats.result import Result


def mixed_model(
    differences: Float[np.ndarray, "run case"],
    draws: Sequence[int],
    *,
    unit: str = "case",
    level: float = 0.95,
) -> Result:
    """Mean paired difference with crossed random cases and seeds, by restricted likelihood.

    d = mean + case + draw + train(draw) + residual; NaN cells are left out, so cases may be missing
    in some runs and draws may have different numbers of train seeds. The p-value is Wald's with a
    normal distribution, too small with few seeds; for a balanced table `crossed_t_test` is better.

    Raises:
        ConfigError: statsmodels is not installed.
        RefusedTest: the unit is a part of an image, or fewer than 2 cases or 2 runs.
    """
    check_unit("The mixed model", unit)
    check_enough("The mixed model", differences.shape[1], 2, unit)
    check_enough("The mixed model", differences.shape[0], 2, "run")
    fitted, notes = _fit(_frame(differences, draws), _formulas(draws))
    mean, error = float(fitted.fe_params.iloc[0]), float(fitted.bse_fe.iloc[0])
    low, high = fitted.conf_int(alpha=1 - level).iloc[0]
    spreads = zip(fitted.model.exog_vc.names, fitted.vcomp, strict=True)
    details = {f"sd_{name}": math.sqrt(max(float(value), 0.0)) for name, value in spreads}
    return Result(
        name="mixed model (REML, Wald)",
        statistic=mean / error,
        p_value=float(fitted.pvalues.iloc[0]),
        n_units=differences.shape[1],
        unit=unit,
        interval=(float(low), float(high)),
        estimate=mean,
        note=" ".join([f"{len(set(draws))} draw seeds: the normal p-value is too small.", *notes])
        if len(set(draws)) < 20
        else " ".join(notes),
        details={**details, "sd_residual": math.sqrt(float(fitted.scale)), "standard_error": error},
    )


def _formulas(draws: Sequence[int]) -> dict[str, str]:
    """Variance components in statsmodels' formula language."""
    parts = {"case": "0 + C(case)"}
    if len(set(draws)) > 1:
        parts["draw"] = "0 + C(draw)"
    if len(set(draws)) < len(draws):
        parts["train"] = "0 + C(run)"
    return parts


def _frame(differences: np.ndarray, draws: Sequence[int]) -> Any:
    import pandas as pd

    runs, cases = np.nonzero(np.isfinite(differences))
    columns = {
        "d": differences[runs, cases],
        "run": runs,
        "case": cases,
        "draw": np.asarray(draws)[runs],
        "all": 1,
    }
    return pd.DataFrame(columns)


def _fit(frame: Any, formulas: dict[str, str]) -> tuple[Any, list[str]]:
    """The fitted model, and what statsmodels warned of."""
    try:
        api = importlib.import_module("statsmodels.formula.api")
    except ImportError as missing:
        raise ConfigError(
            "the mixed model needs statsmodels, which is not installed: `pip install statsmodels`, "
            "or use salearn.stats.components.crossed_t_test on a balanced table"
        ) from missing
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = api.mixedlm("d ~ 1", frame, groups="all", vc_formula=formulas, re_formula="0")
        fitted = model.fit(reml=True)
    seen = dict.fromkeys(str(warning.message).split("\n")[0] for warning in caught)
    return fitted, [f"statsmodels: {message}." for message in seen]
