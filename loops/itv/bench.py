"""The workbench of a 4-D job: phases are its cases, patients hold them together."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from loops.itv.config import ItvConfig
from loops.progress import Progress
from loops.workbench import Workbench
from salearn.cases import CaseId
from salearn.data.phantom4d import CODE_VERSION as PHANTOMS
from salearn.data.phantom4d import write_phantom4d
from salearn.data.phases import PhaseSet, read_phases
from salearn.data.phases_split import as_dataset
from salearn.data.source import Dataset
from salearn.errors import ConfigError
from salearn.settings import dump
from salearn.store import content_key


class PhaseBench(Workbench):
    """A `Workbench` whose data set is read from 4-D scans."""

    config: ItvConfig

    def __init__(self, config: ItvConfig, progress: Progress) -> None:
        super().__init__(config, progress)

    @cached_property
    def scans(self) -> PhaseSet:
        """The 4-D scans; phantoms are written into the store where no root is named."""
        root = self.config.data.root
        found = read_phases(self.config.data.source(root or str(self._phantoms())))
        self.config.require_structures(found.classes)
        longest = max(self.config.filter.run, self.config.filter.gap + 1, self.config.votes)
        if longest > len(found.phases):
            raise ConfigError(
                f"filter.run, filter.gap or votes ask for {longest} phases, but a scan has "
                f"{len(found.phases)}"
            )
        return found

    @cached_property
    def dataset(self) -> Dataset:
        """Every phase as a case of its own."""
        return as_dataset(self.scans, self.store)

    @property
    def reference_phase(self) -> int:
        """Index of the phase that margins are measured from.

        Raises:
            ConfigError: there is no such phase.
        """
        name = self.config.reference_phase
        if name is not None and name not in self.scans.phases:
            raise ConfigError(f"reference_phase: '{name}' is none of {list(self.scans.phases)}")
        return 0 if name is None else self.scans.phases.index(name)

    def phases_of(self, patient: str) -> list[CaseId]:
        """All phases of a patient, in order."""
        return [self.scans.case_id(patient, k) for k in range(len(self.scans.phases))]

    @cached_property
    def test_patients(self) -> list[str]:
        """Patients that the ITV is measured on."""
        return sorted({self.patients[case] for case in self.split.test})

    def _phantoms(self) -> Path:
        data = self.config.data
        key = content_key("phantom4d", PHANTOMS, data.phantom_cases, dump(data.phantom4d))
        return self.store.get(
            "phantoms", key, lambda out: write_phantom4d(out, data.phantom_cases, data.phantom4d)
        )
