"""A test set of another place: opened like the run's own data, and only ever scored."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

from loops.workbench import Workbench
from salearn.data.source import DataSource
from salearn.data.splits import Split
from salearn.errors import ConfigError, DataError

FOLDER = "external"  # in the run folder: its own query log


class External(Workbench):
    """A workbench on which every masked case is a test case and nothing can be annotated."""

    @cached_property
    def split(self) -> Split:
        """All cases with a mask are tested."""
        return Split(pool=(), validation=(), test=tuple(sorted(self.dataset.masks)))

    def told(self) -> dict[str, Any]:
        """What run.json says of it."""
        return {
            "dataset": self.dataset.name,
            "num_cases": len(self.split.test),
            "reference_kind": self.reference_kind,
            "patients": {case: name for case, name in self.patients.items()},
        }


def external_bench(bench: Workbench) -> External | None:
    """The external set of a run, normalised as its own data; None if none is named.

    Raises:
        ConfigError: other classes, or pictures beside volumes.
        DataError: an image is in both data sets.
    """
    source = bench.config.adaptation.external
    if source.root is None:
        return None
    fields = {name: getattr(source, name) for name in DataSource.__dataclass_fields__}
    config = replace(
        bench.config,
        data=replace(bench.config.data, **fields),
        out=str(bench.out / FOLDER),
        store=str(bench.config.store_path),
    )
    found = External(config, bench.progress)
    _refuse_other_task(bench, found)
    _refuse_leak(bench, found)
    return found


def _refuse_other_task(bench: Workbench, other: External) -> None:
    here, there = bench.dataset, other.dataset
    if here.classes != there.classes:
        raise ConfigError(
            f"adaptation.external: {there.root} has the classes {list(there.classes)}, the data "
            f"set {list(here.classes)}; set adaptation.external.classes so that they agree"
        )
    if here.flat != there.flat:
        raise ConfigError(
            f"adaptation.external: {there.root} and {here.root} are not both pictures or volumes"
        )


def _refuse_leak(bench: Workbench, other: External) -> None:
    """Patients cannot be compared by name across places; equal image files can."""
    known = {bench.key(case): case for case in bench.cases}
    twins = [(case, known[other.key(case)]) for case in other.cases if other.key(case) in known]
    if twins:
        raise DataError(
            f"adaptation.external: {len(twins)} images of {other.dataset.root} are images of "
            f"{bench.dataset.root} too, e.g. {twins[0][0]} = {twins[0][1]}; take them out, or "
            "the external result is no external result"
        )
