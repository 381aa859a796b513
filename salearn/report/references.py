"""References of several kinds are never put into one table."""

from __future__ import annotations

from collections.abc import Sequence

from salearn.errors import DataError
from salearn.report.runs import Run


def refuse_mixed_references(runs: Sequence[Run]) -> None:
    """Check that runs of one data set were scored against references of one kind.

    Raises:
        DataError: they were not; the message names a run of each kind.
    """
    found: dict[str, dict[str, Run]] = {}
    for run in runs:
        kind = run.record.get("reference_kind")
        if kind is not None:
            found.setdefault(str(run.factors["dataset"]), {}).setdefault(str(kind), run)
    for dataset, kinds in found.items():
        if len(kinds) > 1:
            shown = ", ".join(f"{kind} ({run.path})" for kind, run in kinds.items())
            raise DataError(
                f"{dataset}: runs were scored against references of several kinds: {shown}; a Dice "
                "against a box is another number than one against a drawn mask: report them apart, "
                "or give the data sets names of their own"
            )
