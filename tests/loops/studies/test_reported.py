"""A study that is complete ends with its report, if it says so."""

from pathlib import Path

import pytest
import quick_study
from typer.testing import CliRunner

import loops.verbs.running as verbs
from loops.cli import app


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[list[Path]]:
    folders: list[list[Path]] = []
    monkeypatch.setattr(verbs, "report", folders.append)
    monkeypatch.setattr("loops.cell.run_cell", quick_study.runner([]))
    return folders


def _sweep(folder: Path, *more: str) -> None:
    result = CliRunner().invoke(app, ["sweep", str(folder / "study.yaml"), *more])
    assert result.exit_code == 0, result.output


def test_the_report_comes_when_the_last_cell_is_done(
    tmp_path: Path, reported: list[list[Path]]
) -> None:
    study = quick_study.make(tmp_path, report=True)
    _sweep(tmp_path, "--cell", study.cells[0].key)
    assert reported == []  # two cells are missing
    _sweep(tmp_path, "--dry-run")
    assert reported == []
    _sweep(tmp_path)
    assert reported == [[study.out]]
    _sweep(tmp_path)  # nothing to run: the tables are printed again
    assert len(reported) == 2


def test_no_report_where_none_is_asked_for_or_one_document_is(
    tmp_path: Path, reported: list[list[Path]]
) -> None:
    quick_study.make(tmp_path)
    _sweep(tmp_path)
    _sweep(tmp_path, "study.report=true", "--json")
    assert reported == []
    _sweep(tmp_path, "study.report=true")
    assert len(reported) == 1
