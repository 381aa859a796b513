"""A study under fire: 24 tiny cells, 20 times `kill -9`, and a node that leaves.

python -m benchmarks.chaos_sweep [--cells 24] [--kills 20] [--parts calm ray extend fire nodes]

calm    the study is run serially and left alone; the other parts are compared with it
ray     the same through Ray, undisturbed
extend  one more draw seed and one more strategy in that study (in `calm` where `ray` is left
        out): only the new cells run
fire    through Ray while workers and the driver are killed at random; a driver that died is
        started again with the same command
nodes   on a cluster of two nodes (ray.cluster_utils, `--address`), one of which is removed when a
        third of the cells is done; cells ask for a quarter of a card that the nodes claim to have
The rounds of every cell must be equal to the byte, and no stage may be trained twice. One JSON
document; with --parallel-budgets the rounds of a cell run side by side in all parts but `calm`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.bench_demo import ROOT, SALEARN
from loops.studies.ledger import Ledger
from loops.studies.study import Study, load_study
from salearn.store import read_lines

STRATEGIES = ("random", "coreset", "dkd")


def study_file(
    folder: Path,
    cells: int,
    backend: str,
    iterations: int = 4,
    more: int = 0,
    **section: Any,
) -> Path:
    """A study of two strategies and as many draw seeds as `cells` asks for.

    Args:
        more: strategies and draw seeds beyond those.
    """
    folder.mkdir(parents=True, exist_ok=True)
    factors = {
        "strategy": list(STRATEGIES[: 2 + more]),
        "draw_seed": list(range(cells // 2 + more)),
    }
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
            "factors": factors,
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
    one = {"num_cpus": 1, "num_gpus": 1, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=one | {"include_dashboard": False})
    try:
        second = cluster.add_node(**one)
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


class Parts:
    """The parts of the experiment, in one folder; each gives what it found.

    Args:
        section: settings of the study in all parts but `calm`.
    """

    def __init__(self, folder: Path, cells: int, kills: int, section: dict[str, Any]) -> None:
        self.folder, self.cells, self.kills, self.section = folder, cells, kills, section

    def calm(self) -> dict[str, Any]:
        path = study_file(self.folder / "calm", self.cells, "serial")
        found = swept(path)
        self.study = load_study(path)
        return found

    def ray(self) -> dict[str, Any]:
        path = study_file(self.folder / "ray", self.cells, "ray", **self.section)
        return swept(path) | compared(self.study, load_study(path))

    def extend(self) -> dict[str, Any]:
        name = "ray" if (self.folder / "ray").exists() else "calm"
        before = [(cell.out / "rounds.jsonl").read_bytes() for cell in self.study.cells]
        path = study_file(self.folder / name, self.cells, "ray", more=1, **self.section)
        new = len(load_study(path).cells) - self.cells
        found = swept(path) | {"new_cells": new, "the_same_again_ran": swept(path)["ran"]}
        old = load_study(study_file(self.folder / name, self.cells, "ray", **self.section))
        after = [(cell.out / "rounds.jsonl").read_bytes() for cell in self.study.cells]
        return found | {"old_cells_untouched": before == after} | compared(self.study, old)

    def fire(self) -> dict[str, Any]:
        path = study_file(self.folder / "fire", self.cells, "ray", **self.section)
        shot = load_study(path)
        return {"killed": under_fire(shot, path, self.kills)} | compared(self.study, shot)

    def nodes(self) -> dict[str, Any]:
        more = {"stale": 10.0, "gpu": 0.25} | self.section
        path = study_file(self.folder / "nodes", self.cells, "ray", **more)
        return node_lost(path) | compared(self.study, load_study(path))


def swept(path: Path) -> dict[str, Any]:
    """One undisturbed sweep: counts of its document."""
    done = subprocess.run(command(path), cwd=ROOT, stdout=subprocess.PIPE)
    found = json.loads(done.stdout)
    for row in found["results"]:
        if row["error"]:
            print(row["folder"], row["error"], file=sys.stderr)
    return {key: found[key] for key in ("ran", "skipped", "failed")}


def timed(part: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a part found, its wall seconds and the CPU-seconds of processes it waited for."""
    start, before = time.monotonic(), cpu_of_children()
    found = part()
    took = {"wall_s": time.monotonic() - start, "cpu_s": cpu_of_children() - before}
    return found | {name: round(value, 1) for name, value in took.items()}


def cpu_of_children() -> float:
    """CPU-seconds of ended child processes."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def bad(found: dict[str, Any], cells: int) -> bool:
    """Whether a part did not end as it must."""
    extended = "new_cells" in found and (
        (found["ran"], found["skipped"]) != (found["new_cells"], cells)
        or found["the_same_again_ran"] > 0
    )
    return (
        extended
        or ("equal_cells" in found and found["equal_cells"] != cells)
        or bool(found.get("trained_twice"))
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; 0 = everything equal."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos_sweep")
    parser.add_argument("--cells", type=int, default=24)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--parts", nargs="+", default=["calm", "ray", "extend", "fire", "nodes"])
    parser.add_argument("--parallel-budgets", action="store_true")
    given = parser.parse_args(argv)
    result: dict[str, Any] = {"cells": given.cells}
    section = {"parallel_budgets": True} if given.parallel_budgets else {}
    with tempfile.TemporaryDirectory(prefix="chaos") as name:
        parts = Parts(Path(name), given.cells, given.kills, section)
        for part in given.parts:
            result[part] = timed(getattr(parts, part))
            print(part, json.dumps(result[part]), file=sys.stderr, flush=True)
    print(json.dumps(result, indent=1))
    return int(any(bad(result[part], given.cells) for part in given.parts))


if __name__ == "__main__":
    sys.exit(main())
