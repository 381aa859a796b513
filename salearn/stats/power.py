"""How many test cases and seeds show a difference: in closed form, and by simulation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from salearn.stats.components import Components, crossed_t_test
from salearn.stats.signed_rank import wilcoxon

WILCOXON_EFFICIENCY = 3 / math.pi  # of Wilcoxon against t for normal differences
MOST = 100_000  # cases beyond which a plan is called out of reach

Table = Float[np.ndarray, "run case"]
PTest = Callable[[np.ndarray, Sequence[int]], float]


def t_power(shift: float, df: float, alpha: float = 0.05) -> float:
    """Power of a two-sided t-test whose statistic has mean `shift` (difference / its error)."""
    from scipy.stats import nct, norm, t

    critical = float(t.ppf(1 - alpha / 2, df))
    if abs(shift) > critical + 30:  # the non-central t is not computed reliably out there
        return 1.0
    power = float(nct.sf(critical, df, abs(shift)) + nct.cdf(-critical, df, abs(shift)))
    return power if math.isfinite(power) else float(norm.sf(critical - abs(shift)))


def power(
    difference: float,
    parts: Components,
    *,
    cases: int,
    draws: int = 1,
    trains: int = 1,
    alpha: float = 0.05,
) -> float:
    """Probability that `crossed_t_test` sees a true mean difference, in closed form.

    Non-central t with difference / standard error and Satterthwaite's degrees of freedom at the
    expected mean squares. With one draw and one train seed the seed parts add to no error: the
    power is that of a claim about two checkpoints.

    Args:
        alpha: two-sided; divide it by the size of the family for Bonferroni or Holm's first step.

    Raises:
        ValueError: fewer than 2 cases, or no seed.
    """
    if cases < 2 or draws < 1 or trains < 1:
        raise ValueError(f"power needs 2 cases and a seed, got {cases}, {draws} x {trains}")
    seen = _seen(parts, draws, trains)
    error = seen.standard_error(cases, draws, trains)
    if error == 0:
        return 1.0 if difference else alpha
    return t_power(difference / error, _df(seen, cases, draws, trains), alpha)


def _seen(parts: Components, draws: int, trains: int) -> Components:
    """The parts that a design treats as random: a seed with one level is fixed."""
    draw = parts.draw if draws > 1 else 0.0
    train = parts.train if draws * trains > 1 else 0.0
    return Components(case=parts.case, draw=draw, train=train, residual=parts.residual)


def _df(parts: Components, cases: int, draws: int, trains: int) -> float:
    """Satterthwaite at the expected mean squares."""
    runs = draws * trains
    residual = parts.residual**2
    case = residual + runs * parts.case**2
    if runs == 1:
        return cases - 1
    seed = residual + cases * parts.train**2 + cases * trains * parts.draw**2
    seed_df = draws - 1 if draws > 1 else trains - 1
    bottom = case**2 / (cases - 1) + seed**2 / seed_df
    bottom += residual**2 / ((runs - 1) * (cases - 1))
    return (case + seed - residual) ** 2 / bottom if bottom > 0 else cases - 1


def cases_needed(
    difference: float,
    parts: Components,
    *,
    draws: int = 1,
    trains: int = 1,
    target: float = 0.8,
    alpha: float = 0.05,
    efficiency: float = 1.0,
) -> int | None:
    """Fewest test cases for this power; None if no number of cases is enough (seeds limit it).

    Args:
        efficiency: of the test against t; `WILCOXON_EFFICIENCY` for Wilcoxon.

    Raises:
        ValueError: the difference is 0.
    """
    if difference == 0:
        raise ValueError("no number of cases shows a difference of 0; use equivalence.tost")

    def enough(cases: int) -> bool:
        found = power(difference, parts, cases=cases, draws=draws, trains=trains, alpha=alpha)
        return found >= target

    if not enough(MOST):
        return None
    low, high = 1, MOST  # `low` is never enough, `high` always is
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return math.ceil(high / efficiency)


def seeds_needed(
    difference: float,
    parts: Components,
    *,
    cases: int,
    target: float = 0.8,
    alpha: float = 0.05,
    most: int = 1_000,
) -> int | None:
    """Fewest draw seeds (one train seed each) for this power at `cases`; None if out of reach.

    At least 2: with one seed there is no claim about methods.
    """
    for draws in range(2, most + 1):
        if power(difference, parts, cases=cases, draws=draws, alpha=alpha) >= target:
            return draws
    return None


def plan(
    difference: float,
    parts: Components,
    *,
    draws: Sequence[int] = (1, 2, 3, 5, 10),
    target: float = 0.8,
    alpha: float = 0.05,
) -> list[dict[str, int | float | None]]:
    """Rows of draw seeds and the test cases that they need; `cases` None = out of reach."""
    rows: list[dict[str, int | float | None]] = []
    for count in draws:
        cases = cases_needed(difference, parts, draws=count, target=target, alpha=alpha)
        error = parts.standard_error(cases, count) if cases else None
        rows.append({"draws": count, "cases": cases, "standard_error": error})
    return rows


def detectable(
    parts: Components,
    *,
    cases: int,
    draws: int = 1,
    trains: int = 1,
    target: float = 0.8,
    alpha: float = 0.05,
) -> float:
    """The smallest true difference that this design sees with this power, in the metric's units."""
    from scipy.optimize import brentq

    error = _seen(parts, draws, trains).standard_error(cases, draws, trains)
    if error == 0:
        return 0.0

    def lack(difference: float) -> float:
        design = {"cases": cases, "draws": draws, "trains": trains}
        return power(difference, parts, **design, alpha=alpha) - target

    top = error
    while lack(top) < 0:
        top *= 2
    return float(brentq(lack, 0.0, top))


def crossed_p(differences: np.ndarray, draws: Sequence[int]) -> float:
    """P-value of `crossed_t_test`: the claim about methods."""
    return crossed_t_test(differences, draws).p_value


def wilcoxon_p(differences: np.ndarray, draws: Sequence[int]) -> float:
    """P-value of Wilcoxon on case means over runs: the claim about these checkpoints."""
    return wilcoxon(differences.mean(axis=0), unit="case").p_value


def simulate(
    difference: float,
    parts: Components,
    *,
    cases: int,
    draws: int,
    trains: int = 1,
    rng: np.random.Generator,
) -> Table:
    """One experiment: normal parts around a true mean difference."""
    runs = draws * trains
    table = rng.normal(0, parts.residual, (runs, cases)) + rng.normal(0, parts.case, cases)
    table += rng.normal(0, parts.train, (runs, 1))
    return difference + table + np.repeat(rng.normal(0, parts.draw, draws), trains)[:, None]


def simulated_power(
    difference: float,
    parts: Components,
    *,
    cases: int,
    draws: int = 1,
    trains: int = 1,
    alpha: float = 0.05,
    test: PTest = crossed_p,
    experiments: int = 1_000,
    seed: int = 0,
) -> tuple[float, float]:
    """Share of simulated experiments with p < alpha, and its Monte Carlo standard error."""
    rng = np.random.default_rng(seed)
    names = [draw for draw in range(draws) for _ in range(trains)]
    size = {"cases": cases, "draws": draws, "trains": trains}
    found = [
        test(simulate(difference, parts, **size, rng=rng), names) < alpha
        for _ in range(experiments)
    ]
    share = float(np.mean(found))
    return share, math.sqrt(share * (1 - share) / experiments)
