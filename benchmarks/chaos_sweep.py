"""A study under fire: 24 tiny cells, 20 times `kill -9`, and a node that leaves.

python -m benchmarks.chaos_sweep [--cells 24] [--kills 20] [--nodes]      one JSON document

1. The study is run serially and left alone.
2. The same study is run through Ray while workers and the driver are killed at random; a driver
   that died is started again with the same command.
3. With --nodes: once more on a cluster of two nodes (ray.cluster_utils), one of which is removed
   when a third of the cells is done.
The rounds of every cell must be equal to the byte, and no stage may be trained twice.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.bench_demo import ROOT, SALEARN
from loops.studies.ledger import Ledger
from loops.studies.study import Study, load_study
from salearn.store import read_lines


def study_file(folder: Path, cells: int, backend: str, iterations: int = 4, **section: Any) -> Path:
    """A study of two strategies and as many draw seeds as `cells` asks for."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {
        "data": {"phantom_cases": 9, "axis": 1, "split": {"test": 2, "validation": 1, "seed": 0}},
        "budget": [1, 2],
        "max_unlabeled": 3,
        "sinks": [],
        "student": {"iterations": iterations, "width": 4, "depth": 2, "patch": [16, 16, 16]},
        "study": {
            "name": "chaos",
            "out": str(folder / "study"),
            "backend": backend,
            "retries": 100,
            "factors": {"strategy": ["random", "coreset"], "draw_seed": list(range(cells // 2))},
        }
        | section,
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def command(path: Path) -> list[str]:
    """The sweep of a study file as a process."""
    return [*SALEARN, "sweep", str(path), "--json"]


def start(path: Path) -> subprocess.Popen:
    """A driver in a process group of its own."""
    quiet = subprocess.DEVNULL
    return subprocess.Popen(
        command(path), cwd=ROOT, stdout=quiet, stderr=quiet, start_new_session=True
    )


def under_fire(study: Study, path: Path, kills: int, seed: int = 0) -> dict[str, int]:
    """Run the study to its end while `kills` workers and drivers are killed."""
    chance = random.Random(seed)
    ledger = Ledger(study.out)
    done = {"workers": 0, "drivers": 0, "starts": 1}
    driver = start(path)
    while driver.poll() is None or not all(cell.done for cell in study.cells):
        if driver.poll() is not None:
            driver = start(path)
            done["starts"] += 1
        time.sleep(chance.uniform(0.5, 3.0))
        pids = running(study, ledger)
        if done["workers"] + done["drivers"] >= kills or not pids:
            continue
        if chance.random() < 0.25:
            os.killpg(driver.pid, signal.SIGKILL)  # the driver and the Ray it started
            driver.wait()
            done["drivers"] += 1
        else:
            os.kill(chance.choice(pids), signal.SIGKILL)
            done["workers"] += 1
    return done


def running(study: Study, ledger: Ledger) -> list[int]:
    """Processes that hold a cell, from the ledger."""
    held = [cell.key for cell in study.cells if not cell.done and not ledger.claims.free(cell.key)]
    return [record["pid"] for key in held if (record := ledger.claims.last(key))]


def node_lost(path: Path) -> dict[str, Any]:
    """Run the study on two nodes of which one is removed in the middle."""
    from ray.cluster_utils import Cluster

    study = load_study(path)
    one = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=one)
    try:
        second = cluster.add_node(**{k: v for k, v in one.items() if k != "include_dashboard"})
        driver = subprocess.Popen(
            [*command(path), "--address", cluster.address], cwd=ROOT, stdout=subprocess.DEVNULL
        )
        while driver.poll() is None and done(study) < len(study.cells) // 3:
            time.sleep(0.5)
        before = done(study)
        cluster.remove_node(second, allow_graceful=False)
        return {"done_when_removed": before, "exit_code": driver.wait(), "done": done(study)}
    finally:
        cluster.shutdown()


def done(study: Study) -> int:
    """How many cells are finished."""
    return sum(cell.done for cell in study.cells)


def compared(calm: Study, other: Study) -> dict[str, Any]:
    """Whether the rounds are equal to the byte, and what was trained more than once."""
    pairs = list(zip(calm.cells, other.cells, strict=True))
    trained = [
        (cell.key, line["stage"], line["round"])
        for cell in other.cells
        for line in read_lines(cell.out / "trainings.jsonl")
    ]
    return {
        "same_keys": all(a.key == b.key for a, b in pairs),
        "equal_cells": sum(
            (a.out / "rounds.jsonl").read_bytes() == (b.out / "rounds.jsonl").read_bytes()
            for a, b in pairs
        ),
        "trained_twice": len(trained) - len(set(trained)),
        "attempts": sum(Ledger(other.out).claims.newest(cell.key) for cell in other.cells),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; 0 = everything equal."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos_sweep")
    parser.add_argument("--cells", type=int, default=24)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--nodes", action="store_true", help="also lose a node of a cluster")
    parser.add_argument("--backend", default="ray", help="what is shot at: ray or serial")
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="chaos") as name:
        folder = Path(name)
        path = study_file(folder / "calm", given.cells, "serial")
        subprocess.run(command(path), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        calm = load_study(path)
        path = study_file(folder / "fire", given.cells, given.backend)
        shot = load_study(path)
        killed = under_fire(shot, path, given.kills)
        result: dict[str, Any] = {"cells": given.cells, "killed": killed} | compared(calm, shot)
        equal = [result["equal_cells"]]
        if given.nodes:
            path = study_file(folder / "nodes", given.cells, "ray", stale=10.0)
            result["nodes"] = node_lost(path) | compared(calm, load_study(path))
            equal.append(result["nodes"]["equal_cells"])
    print(json.dumps(result, indent=1))
    return int(any(n != given.cells for n in equal) or result["trained_twice"] > 0)


if __name__ == "__main__":
    sys.exit(main())
