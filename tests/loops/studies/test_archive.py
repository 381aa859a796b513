"""A study as one file: what is in it, what a changed byte does, and a cell that is run anew."""

import tarfile
from pathlib import Path

import pytest
import quick_study
import tiny
import yaml

from loops.progress import Progress
from loops.studies.archive import export_study, verify
from loops.studies.study import load_study
from loops.sweep import sweep
from salearn.errors import ConfigError, DataError
from salearn.store import write_json, write_text

QUIET = Progress(enabled=False)


def finished(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder.mkdir(exist_ok=True)
    monkeypatch.setattr("loops.cell.run_cell", quick_study.runner([]))
    study = quick_study.make(folder, seeds=[0, 1])
    sweep(study, QUIET)
    for cell in study.cells:
        write_json(cell.out / "split.json", {"hash": "same"})
        values = {k: v for k, v in cell.values.items() if k not in ("out", "store")}
        write_text(cell.out / "config.yaml", yaml.safe_dump(values))
    return study.out


def test_it_holds_configs_logs_tables_and_hashes_and_is_the_same_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = finished(tmp_path, monkeypatch)
    first = export_study(out, tmp_path / "a.tar.gz")
    second = export_study(out, tmp_path / "b.tar.gz")
    assert first["sha256"] == second["sha256"]
    assert (first["cells"], first["left_out"]) == (2, [])
    with tarfile.open(tmp_path / "a.tar.gz") as tar:
        names = tar.getnames()
        assert {entry.mtime for entry in tar.getmembers()} == {0}
    assert {"manifest.json", "study.json", "tables/rounds.jsonl"} < set(names)
    for name in ("config.yaml", "rounds.jsonl", "split.json"):
        assert len([n for n in names if n.endswith(f"/{name}") and n.startswith("cells/")]) == 2


def test_a_changed_byte_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = finished(tmp_path, monkeypatch)
    export_study(out, tmp_path / "a.tar.gz")
    with tarfile.open(tmp_path / "a.tar.gz") as tar:
        tar.extractall(tmp_path / "x", filter="data")
    log = next((tmp_path / "x" / "cells").glob("*/rounds.jsonl"))
    log.write_text(log.read_text().replace("0.", "9."))
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "x", arcname=".")
    with pytest.raises(DataError, match=r"rounds.jsonl is missing or was changed"):
        verify(tmp_path / "b.tar.gz", progress=QUIET)
    (tmp_path / "c.tar.gz").write_bytes(b"nothing")
    with pytest.raises(DataError, match="not an archive of a study"):
        verify(tmp_path / "c.tar.gz")


def test_nothing_finished_is_nothing_to_pack(tmp_path: Path) -> None:
    write_json(tmp_path / "study.json", {"name": "x", "cells": []})
    with pytest.raises(ConfigError, match="no cell is finished"):
        export_study(tmp_path, tmp_path / "a.tar.gz")


@pytest.mark.slow
def test_a_cell_that_is_run_anew_is_equal_and_another_config_is_not(tmp_path: Path) -> None:
    values = {k: v for k, v in tiny.values(tmp_path).items() if k not in ("out", "store")}
    section = {"out": str(tmp_path / "study"), "backend": "serial", "factors": {"draw_seed": [4]}}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(values | {"study": section}))
    sweep(load_study(path), QUIET)
    export_study(tmp_path / "study", tmp_path / "a.tar.gz")
    found = verify(tmp_path / "a.tar.gz", progress=QUIET)
    assert found["bit_equal"]
    assert found["same_data"]
    assert found["ok"]
    other = verify(tmp_path / "a.tar.gz", ["student.iterations=2"], progress=QUIET)
    assert not other["ok"]
    assert other["dice_difference"] > 0
