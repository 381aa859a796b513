"""What a test answers: one record, whatever the test."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

Alternative = Literal["two-sided", "greater", "less"]


@dataclass(frozen=True, kw_only=True)
class Result:
    """The answer of one test.

    Attributes:
        name: the test and its variant, e.g. "Wilcoxon signed-rank, exact".
        statistic: its statistic; NaN if it has none.
        p_value: not adjusted for multiplicity; NaN if there is none to give.
        interval: of `estimate`, at the level of the test; None if there is none.
        n_units: independent units that went in.
        unit: what one of them is, e.g. "patient".
        note: what a reader must know, as sentences; "" if nothing.
        estimate: the effect that the interval is about.
        floor: smallest p-value that the test can give for these units (0 = no lower limit).
        details: further numbers of the test by name.
    """

    name: str
    statistic: float
    p_value: float
    n_units: int
    unit: str
    interval: tuple[float, float] | None = None
    note: str = ""
    estimate: float = math.nan
    floor: float = 0.0
    details: Mapping[str, float] = field(default_factory=dict)

    def noted(self, *sentences: str) -> Result:
        """The same result with more sentences in its note."""
        parts = [part for part in (self.note, *sentences) if part]
        return replace(self, note=" ".join(parts))

    def as_row(self) -> dict[str, Any]:
        """Plain values for a table: the interval as `low` and `high`, the details as columns."""
        row = asdict(self)
        details, interval = row.pop("details"), row.pop("interval")
        low, high = interval or (math.nan, math.nan)
        return {**row, "low": low, "high": high, **details}


def tail(alternative: Alternative, less: float, greater: float) -> float:
    """The p-value out of P(T <= t) and P(T >= t); two-sided is twice the smaller, at most 1."""
    if alternative == "two-sided":
        return min(1.0, 2 * min(less, greater))
    return greater if alternative == "greater" else less
