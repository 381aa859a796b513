"""Which cell of one study answers to which cell of another, and what differs between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from salearn.report.parts import arm_of
from salearn.report.runs import FACTORS, PLACES, Run, settings_of

SHOWN = 4  # values of a setting that a row names


@dataclass(frozen=True, kw_only=True)
class Match:
    """Cells paired by the factors that both sides share, and those left over."""

    pairs: list[tuple[Run, Run]]
    only_a: list[str]
    only_b: list[str]

    def arms(self) -> dict[str, list[tuple[Run, Run]]]:
        """The pairs of each arm: they differ by seeds only."""
        found: dict[str, list[tuple[Run, Run]]] = {}
        for pair in self.pairs:
            found.setdefault(_arm(pair), []).append(pair)
        return found

    def rows(self) -> list[dict[str, str]]:
        """One row a pair, for people."""
        return [
            {"a": str(a.path), "b": str(b.path), "arm": _arm((a, b)), "seeds": _seeds(a, b)}
            for a, b in self.pairs
        ]


def match_runs(left: Sequence[Run], right: Sequence[Run]) -> Match:
    """Pair runs whose factors are equal.

    A factor that has one value on each side, and another one there, is what is being compared: it
    does not count. So two single runs always pair.
    """
    keys = [name for name in (*FACTORS, "variant") if not _compared(name, left, right)]
    a, b = _by(keys, left), _by(keys, right)
    pairs = [(run, b[place]) for place, run in a.items() if place in b]
    used = {id(run) for pair in pairs for run in pair}
    return Match(
        pairs=pairs,
        only_a=[str(run.path) for run in left if id(run) not in used],
        only_b=[str(run.path) for run in right if id(run) not in used],
    )


def _compared(name: str, left: Sequence[Run], right: Sequence[Run]) -> bool:
    here, there = ({run.factors[name] for run in side} for side in (left, right))
    return len(here) == 1 and len(there) == 1 and here != there


def _by(keys: Sequence[str], runs: Sequence[Run]) -> dict[tuple[object, ...], Run]:
    found: dict[tuple[object, ...], Run] = {}
    for run in runs:
        found.setdefault(tuple(run.factors[key] for key in keys), run)
    return found


def _arm(pair: tuple[Run, Run]) -> str:
    a, b = (f"{run.factors['dataset']}: {arm_of(run.factors)}" for run in pair)
    return a if a == b else f"{a} -> {b}"


def _seeds(a: Run, b: Run) -> str:
    here, there = (f"{run.factors['draw_seed']}/{run.factors['train_seed']}" for run in (a, b))
    return here if here == there else f"{here} -> {there}"


def setting_rows(left: Sequence[Run], right: Sequence[Run]) -> list[dict[str, str]]:
    """Settings, split and versions whose values differ between the sides; rows key, a, b."""
    here, there = _values(left), _values(right)
    return [
        {"key": key, "a": _words(here.get(key)), "b": _words(there.get(key))}
        for key in sorted({*here, *there})
        if here.get(key) != there.get(key)
    ]


def _values(runs: Sequence[Run]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for run in runs:
        plain = {k: v for k, v in settings_of(run).items() if k not in PLACES}
        plain["split hash"] = str((run.record.get("split") or {}).get("hash"))
        versions = run.record.get("versions") or {}
        plain |= {f"version of {name}": str(value) for name, value in versions.items()}
        for key, value in plain.items():
            found.setdefault(key, set()).add(value)
    return found


def _words(values: set[str] | None) -> str:
    if not values:
        return "-"
    shown = sorted(values)
    more = f", and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return ", ".join(shown[:SHOWN]) + more
