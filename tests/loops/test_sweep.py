"""Studies through the serial backend and through a real Ray."""

from pathlib import Path
from typing import Any

import pytest
import tiny
import yaml

from loops.progress import Progress
from loops.studies.study import Study, load_study
from loops.sweep import plan, study_status, sweep
from salearn.store import read_lines

pytestmark = pytest.mark.slow
QUIET = Progress(enabled=False)


def make(folder: Path, backend: str, strategies: list[str], **changes: Any) -> Study:
    values = {k: v for k, v in tiny.values(folder).items() if k not in ("out", "store")}
    section = {
        "out": str(folder / "study"),
        "backend": backend,
        "factors": {"strategy": strategies, "learner": ["supervised"]},
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(values | changes | {"study": section}))
    return load_study(path)


def test_a_bad_cell_does_not_stop_the_others_and_extension_runs_only_new_cells(
    tmp_path: Path,
) -> None:
    study = make(tmp_path, "serial", ["random", "dkd"])
    bad = study.cells[0]
    bad.out.mkdir(parents=True)
    (bad.out / "run.json").write_text('{"key": "another"}')  # the folder of another run
    result = sweep(study, QUIET)
    assert (result["ran"], result["failed"]) == (1, 1)
    row = next(row for row in result["results"] if row["key"] == bad.key)
    assert row["status"] == "failed"
    assert "other settings" in row["error"]
    assert "Traceback" in (bad.out / "error.txt").read_text()
    (bad.out / "run.json").unlink()
    again = sweep(study, QUIET)
    assert (again["ran"], again["skipped"], again["failed"]) == (1, 1, 0)
    assert sweep(study, QUIET)["ran"] == 0
    more = make(tmp_path, "serial", ["random", "dkd", "asd"])
    assert plan(more)["would_run"] == [more.cells[2].name]
    assert (sweep(more, QUIET)["ran"], sweep(more, QUIET)["ran"]) == (1, 0)
    assert [r["status"] for r in study_status(tmp_path / "study")["cells"]] == ["done"] * 3


def test_ray_gives_what_the_serial_backend_gives(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    serial = make(tmp_path / "a", "serial", ["random"])
    ray = make(tmp_path / "b", "ray", ["random"])
    assert [cell.key for cell in serial.cells] == [cell.key for cell in ray.cells]
    sweep(serial, QUIET)
    result = sweep(ray, QUIET)
    assert (result["ran"], result["failed"]) == (1, 0)
    logs = [study.cells[0].out / "rounds.jsonl" for study in (serial, ray)]
    assert logs[0].read_bytes() == logs[1].read_bytes()
    assert len(read_lines(logs[1])) == 2
    assert sweep(ray, QUIET)["ran"] == 0
