"""Slurm arrays: what is asked for, and that a task runs one cell through the same code."""

import os
import subprocess
from pathlib import Path

import pytest
import quick_study

from loops.studies.backends import slurm
from loops.studies.ledger import Ledger
from loops.sweep import queue
from salearn.errors import ConfigError

SBATCH = """#!/bin/bash
# a cluster of one: runs every task of the array, here and now
script="${@: -1}"
last=$(sed -n 's/^#SBATCH --array=1-\\([0-9]*\\).*/\\1/p' "$script")
for task in $(seq "$last"); do SLURM_ARRAY_TASK_ID=$task bash "$script" > "$script.$task" 2>&1; done
echo 77
"""


def test_the_header_asks_for_what_a_cell_holds(tmp_path: Path) -> None:
    asked = {"partition": "gpu", "time": "01:00:00", "options": ["--account=lab"]}
    study = quick_study.make(
        tmp_path, gpu=0.5, cpu=2, memory_gb=3, parallel=2, backend="slurm", slurm=asked
    )
    (script,) = slurm.write(study, study.cells, Ledger(study.out))["scripts"]
    lines = Path(script).read_text().splitlines()
    for line in (
        "--job-name=quick", "--array=1-3%2", "--cpus-per-task=2", "--time=01:00:00",
        "--partition=gpu", "--mem=3072M", "--gres=gpu:1", "--requeue", "--account=lab",
    ):  # fmt: skip
        assert f"#SBATCH {line}" in lines
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    keys = next((study.out / "slurm").glob("keys_*.txt")).read_text().split()
    assert keys == [cell.key for cell in study.cells]


def test_arrays_are_no_longer_than_the_limit_and_done_cells_are_left_out(tmp_path: Path) -> None:
    study = quick_study.make(
        tmp_path, seeds=list(range(5)), backend="slurm", slurm={"array_limit": 2}
    )
    held = Ledger(study.out).take(study.cells[0])
    assert held is not None
    result = queue(study)
    held.end("stopped")
    assert result["slurm"]["tasks"] == 4
    assert len(result["slurm"]["scripts"]) == 2


def test_without_sbatch_the_files_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    study = quick_study.make(tmp_path, backend="slurm")
    with pytest.raises(ConfigError, match="no sbatch on this machine"):
        queue(study, submit=True)
    assert list((study.out / "slurm").glob("*.sbatch"))


def test_what_sbatch_refuses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, "#!/bin/bash\necho 'invalid partition' >&2; exit 1\n", monkeypatch)
    with pytest.raises(ConfigError, match="invalid partition"):
        queue(quick_study.make(tmp_path, backend="slurm"), submit=True)


def fake(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "bin" / "sbatch"
    path.parent.mkdir()
    path.write_text(text)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")


@pytest.mark.slow
def test_a_task_runs_its_cell_with_the_key_and_the_result_of_the_other_backends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tiny
    import yaml

    from loops.progress import Progress
    from loops.studies.study import load_study
    from loops.sweep import sweep

    fake(tmp_path, SBATCH, monkeypatch)
    values = {k: v for k, v in tiny.values(tmp_path).items() if k not in ("out", "store")}
    section = {"out": str(tmp_path / "study"), "backend": "slurm", "factors": {"draw_seed": [3]}}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(values | {"study": section}))
    study = load_study(path)
    assert queue(study, submit=True)["slurm"]["jobs"] == ["77"]
    assert study.cells[0].done
    section |= {"out": str(tmp_path / "other"), "backend": "serial"}
    path.write_text(yaml.safe_dump(values | {"study": section}))
    other = load_study(path)
    sweep(other, Progress(enabled=False))
    assert other.cells[0].key == study.cells[0].key
    logs = [one.cells[0].out / "rounds.jsonl" for one in (study, other)]
    assert logs[0].read_bytes() == logs[1].read_bytes()
