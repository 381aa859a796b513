"""Cells as tasks of Slurm job arrays: files are written, and handed to sbatch where it is.

A task runs `salearn sweep` on a copy of the study file, with the serial backend and one key: the
same attempt as everywhere. A task that is requeued goes on; what is done when it starts costs it
seconds.
"""

from __future__ import annotations

import math
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from loops.progress import Progress
from loops.studies.expected import memory_mb
from loops.studies.ledger import Ledger
from loops.studies.parts import jobs_of
from loops.studies.study import Cell, Study
from salearn.errors import ConfigError
from salearn.store import content_key, write_text

TEMPLATE = """\
#!/bin/bash
{header}
set -euo pipefail
cd {cwd}
export OMP_NUM_THREADS={cores}
{setup}
key=$(sed -n "${{SLURM_ARRAY_TASK_ID}}p" {keys})
exec {python} -c 'from loops.cli import main; main()' sweep {study} --cell "$key" --json
"""


def write(study: Study, cells: Sequence[Cell], ledger: Ledger) -> dict[str, Any]:
    """Write the study file, the keys and one batch file an array into `slurm/` of the study.

    Returns:
        {"scripts", "tasks"}.
    """
    folder = study.out.resolve() / "slurm"
    section = dict(study.values.get("study") or {}) | {"backend": "serial"}
    text = yaml.safe_dump(dict(study.values) | {"study": section}, sort_keys=False)
    path = folder / f"study_{content_key(text)[:8]}.yaml"
    write_text(path, text)
    (folder / "log").mkdir(exist_ok=True)
    scripts = []
    limit = study.settings.slurm.array_limit
    memory = memory_mb(study, ledger)
    jobs = jobs_of(study, cells, Progress().say)
    for start in range(0, len(jobs), limit):
        part = jobs[start : start + limit]
        name = content_key([job.name for job in part])[:8]
        write_text(folder / f"keys_{name}.txt", "".join(f"{job.name}\n" for job in part))
        script = folder / f"array_{name}.sbatch"
        kinds = {job.cell.kind for job in part} & memory.keys()
        most = max((memory[kind] for kind in kinds), default=None)
        write_text(script, _script(study, path, folder / f"keys_{name}.txt", len(part), most))
        scripts.append(str(script))
    return {"scripts": scripts, "tasks": len(jobs)}


def submit(scripts: Sequence[str]) -> list[str]:
    """Hand the batch files to sbatch; the job ids.

    Raises:
        ConfigError: there is no sbatch here, or it refuses.
    """
    if shutil.which("sbatch") is None:
        raise ConfigError(
            f"no sbatch on this machine; the files are written: run `sbatch {scripts[0]}` on a "
            "login node of the cluster"
        )
    jobs = []
    for script in scripts:
        done = subprocess.run(["sbatch", "--parsable", script], capture_output=True, text=True)
        if done.returncode:
            raise ConfigError(f"sbatch {script}: {done.stderr.strip()}; see study.slurm")
        jobs.append(done.stdout.strip().partition(";")[0])
    return jobs


def _script(study: Study, path: Path, keys: Path, tasks: int, memory_mb: int | None) -> str:
    cores = max(1, math.ceil(study.settings.cpu))
    options = _options(study, tasks, cores, memory_mb)
    return TEMPLATE.format(
        header="\n".join(f"#SBATCH {option}" for option in options),
        cwd=shlex.quote(os.getcwd()),
        cores=cores,
        setup="\n".join(study.settings.slurm.setup),
        keys=shlex.quote(str(keys)),
        python=shlex.quote(sys.executable),
        study=shlex.quote(str(path)),
    )


def _options(study: Study, tasks: int, cores: int, memory_mb: int | None) -> list[str]:
    settings = study.settings
    at_once = f"%{settings.parallel}" if settings.parallel else ""
    found: Mapping[str, Any] = {
        "--job-name": settings.name,
        "--array": f"1-{tasks}{at_once}",
        "--cpus-per-task": cores,
        "--time": settings.slurm.time,
        "--partition": settings.slurm.partition,
        "--mem": f"{memory_mb}M" if memory_mb else None,
        "--gres": f"gpu:{math.ceil(settings.gpu)}" if settings.gpu else None,
        "--output": study.out.resolve() / "slurm" / "log" / "%A_%a.txt",
        "--open-mode": "append",
    }
    lines = [f"{name}={value}" for name, value in found.items() if value is not None]
    return [*lines, "--requeue", *settings.slurm.options]
