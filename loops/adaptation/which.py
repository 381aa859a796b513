"""The inner loop that a run's learner asks for."""

from __future__ import annotations

from loops.adaptation.alone import Alone
from loops.inner import Inner
from loops.workbench import Workbench


def inner_of(bench: Workbench) -> Inner | Alone:
    """SAM3 alone for learner "sam", a student with or without SFR for every other."""
    return Alone(bench) if bench.config.alone else Inner(bench)
