"""Runs of SAM3 alone as arms: their scores by budget, seed and patient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from jaxtyping import Float

from salearn.report.runs import Run, parsed_config
from salearn.store import read_json, read_lines

STAGE = "sam"
INSIDE, OUTSIDE = "test", "external"
SHOWN = ("ok", "missed")  # cases whose reference shows the class: only these have a Dice
REFERENCE, NOTHING = "full", "zero_shot"


@dataclass(frozen=True, kw_only=True)
class ArmRuns:
    """All seeds of one arm over the same budgets.

    Attributes:
        name: the arm with its settings, "lora(rank=8)", and what else sets it apart.
        kind: registered name of the arm.
        rest: what sets it apart from others of the same arm; "" mostly.
        budgets: as the config has them, shares of the pool or annotated units.
        runs: finished ones, by draw and train seed.
    """

    name: str
    kind: str
    rest: str
    budgets: tuple[float, ...]
    runs: tuple[Run, ...]

    def words(self, budget: float) -> str:
        """0.25 as "25 %" where budgets are shares of the pool, 4 as "4"."""
        return f"{100 * budget:.3g} %" if max(self.budgets) <= 1 else f"{budget:.3g}"

    @property
    def seeds(self) -> tuple[tuple[int, int], ...]:
        """(draw seed, train seed) of each run."""
        return tuple(_seeds(run) for run in self.runs)

    @property
    def draws(self) -> tuple[int, ...]:
        """The draw seed of each run."""
        return tuple(draw for draw, _ in self.seeds)

    def scores(self, split: str) -> Scores | None:
        """Dice on one split; None if it was not scored."""
        tables = [_table(run, split) for run in self.runs]
        units = sorted(set.intersection(*(set(t) for t in tables))) if tables else []
        if not units:
            return None
        values = np.array([[table[unit] for unit in units] for table in tables])
        return Scores(units=tuple(units), values=np.moveaxis(values, -1, 0))

    def said(self, key: str) -> list[Any]:
        """A field of the last round's record, of each run."""
        return [run.rounds[-1].get(key) for run in self.runs]

    def costs(self) -> list[dict[str, Any]]:
        """What each training that really ran has taken."""
        return [line for run in self.runs for line in read_lines(run.path / "costs.jsonl")]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """Dice of patients: the mean over their images that show a class, and over classes.

    Attributes:
        units: patients, or cases of which no patient is known.
    """

    units: tuple[str, ...]
    values: Float[np.ndarray, "budget run unit"]

    @property
    def means(self) -> Float[np.ndarray, " budget"]:
        """Mean over patients, then runs."""
        return np.asarray(self.values.mean(axis=(1, 2)))


def arms_of(runs: Sequence[Run]) -> list[ArmRuns]:
    """The arms among these runs: zero-shot first, full fine-tuning next, then by name.

    Unfinished runs are left out; the warnings of the report count them.
    """
    mine = [run for run in runs if run.record.get("arm") and run.finished]
    mine.sort(key=lambda run: (_name(run), _budgets(run), _seeds(run)))
    found = []
    for (name, budgets), part in groupby(mine, lambda run: (_name(run), _budgets(run))):
        members = tuple(part)
        arm = str(members[0].record["arm"])
        found.append(
            ArmRuns(
                name=name,
                kind=arm.partition("(")[0],
                rest=name.removeprefix(arm),
                budgets=budgets,
                runs=members,
            )
        )
    first = {NOTHING: 0, REFERENCE: 1}
    return sorted(found, key=lambda arm: (arm.rest, first.get(arm.kind, 2), _ranked(arm.name)))


def _ranked(name: str) -> tuple[str, int]:
    """lora(rank=8) before lora(rank=16)."""
    return name.partition("(")[0], len(name)


def _name(run: Run) -> str:
    """The arm, then other settings in which runs of the study differ."""
    arm = str(run.record["arm"])
    rest = run.variant.replace(f"arm={arm}", "").strip(", ")
    return f"{arm} [{rest}]" if rest else arm


def _budgets(run: Run) -> tuple[float, ...]:
    values = parsed_config(run).get("budget") or run.record["budget"]
    return tuple(float(value) for value in values)


def _seeds(run: Run) -> tuple[int, int]:
    return int(run.factors["draw_seed"]), int(run.factors["train_seed"])


def _table(run: Run, split: str) -> dict[str, list[float]]:
    """Patient -> Dice after each round."""
    patients = _patients(run)
    found: dict[str, list[list[float]]] = {}
    for case, rounds in _cases(run, split).items():
        name = patients.get(case, case)
        found.setdefault(name, []).append(rounds)
    return {name: np.mean(rows, axis=0).tolist() for name, rows in found.items()}


def _cases(run: Run, split: str) -> dict[str, list[float]]:
    """Case -> mean Dice over the classes that its reference shows, after each round."""
    frame = run.cases.to_pandas()
    mine = frame[(frame["split"] == split) & (frame["stage"] == STAGE)]
    mine = mine[mine["status"].isin(SHOWN)]
    means = mine.groupby(["case", "round"], observed=True)["dice"].mean().unstack("round")
    return {str(case): row.tolist() for case, row in means.iterrows()}


def _patients(run: Run) -> Mapping[str, str]:
    """Patient of each case of which it is known; those of the external set carry its name."""
    split, other = run.path / "split.json", run.path / "external.json"
    found = dict(read_json(split).get("patients", {})) if split.is_file() else {}
    outside = read_json(other).get("patients", {}) if other.is_file() else {}
    named = {f"{OUTSIDE}:{case}": f"{OUTSIDE}:{name}" for case, name in outside.items()}
    return found | named


def false_areas(arm: ArmRuns, split: str) -> tuple[int, int]:
    """Cases without the structure in which something was found, and all such cases; last round."""
    wrong = total = 0
    for run in arm.runs:
        frame = run.cases.to_pandas()
        last = frame[(frame["split"] == split) & (frame["round"] == len(run.rounds) - 1)]
        wrong += int((last["status"] == "false").sum())
        total += int(last["status"].isin(["false", "absent"]).sum())
    return wrong, total


def pairs(arms: Sequence[ArmRuns], kind: str) -> Iterator[tuple[ArmRuns, ArmRuns]]:
    """Each arm with the arm of this kind that is alike otherwise and shares budgets with it."""
    for arm in arms:
        for base in arms:
            alike = (arm.rest, arm.budgets) == (base.rest, base.budgets)
            if base.kind == kind and arm.kind != kind and alike:
                yield arm, base


def paired(
    arm: ArmRuns, base: ArmRuns, split: str
) -> tuple[Float[np.ndarray, "budget run unit"], list[int]] | None:
    """Dice of an arm minus that of another, same seeds and patients; None if they share none."""
    mine, other = arm.scores(split), base.scores(split)
    seeds = [seed for seed in arm.seeds if seed in base.seeds]
    if mine is None or other is None or not seeds:
        return None
    units = [unit for unit in mine.units if unit in other.units]
    if not units:
        return None
    sides = []
    for one, side in ((arm, mine), (base, other)):
        rows = [one.seeds.index(seed) for seed in seeds]
        columns = [side.units.index(unit) for unit in units]
        sides.append(side.values[:, rows][:, :, columns])
    return sides[0] - sides[1], [draw for draw, _ in seeds]
