"""CPU-seconds of one training of every host: python -m benchmarks.host_costs ROOT_OF_DATA_SET.

One labeled case, ten unlabeled ones with a pseudo-label each, student settings of a study file.
Hosts take turns, a block of iterations each, so that a busy machine slows all alike.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.common import one_thread, peak_mib

if TYPE_CHECKING:
    from loops.learning.training import Trainer
    from salearn.data.patches import Example

STUDY = Path("configs/host_matrix.yaml")
UNLABELED = 10


def examples(root: str, store: Path) -> tuple[Example, list[Example], int]:
    """The labeled case, the unlabeled ones (pseudo-labels: noise), and the number of classes."""
    from loops.config import load_run
    from salearn.data.cache import VolumeCache
    from salearn.data.formats import DataSource, read_dataset
    from salearn.data.patches import Example
    from salearn.data.volumes import read_mask
    from salearn.store import Store

    dataset = read_dataset(DataSource(root=root))
    cache = VolumeCache(Store(store), load_run(STUDY).data.recipe)
    first, *rest = dataset.cases[: UNLABELED + 1]
    volume, file = cache.open(first), dataset.masks[first.id]
    mask = read_mask(file, first.id, dataset.values, volume, dataset.ignore)
    labeled = Example(case_id=first.id, image=np.array(volume.image), mask=mask)
    classes = len(dataset.classes) + 1
    rng = np.random.default_rng(0)
    unlabeled = []
    for case in rest:
        image = np.array(cache.open(case).image)
        soft = rng.dirichlet(np.ones(classes), image.shape[1:]).astype(np.float16)
        pseudo = np.moveaxis(soft, -1, 0)
        unlabeled.append(Example(case_id=case.id, image=image, pseudo=pseudo))
    return labeled, unlabeled, classes


def trainer(
    name: str, wrapped: bool, labeled: Example, unlabeled: list[Example], classes: int
) -> Trainer:
    from loops.config import load_run
    from loops.learning.training import Task, Trainer
    from loops.ssl.pseudo_label import PseudoLossSettings
    from loops.ssl.registry import build

    task = Task(
        labeled=[labeled],
        unlabeled=unlabeled,
        channels=1,
        num_classes=classes,
        host=build(name),
        pseudo=PseudoLossSettings() if wrapped else None,
        seed=0,
    )
    made = Trainer(task, load_run(STUDY).student)
    made.iteration = made.settings.iterations // 2  # every term of every host is active
    return made


def measure(root: str, hosts: Sequence[str], blocks: int, block: int) -> list[dict[str, object]]:
    """One row for each host, bare and wrapped."""
    with tempfile.TemporaryDirectory() as store, one_thread():
        cases = examples(root, Path(store))
        arms = [(name, wrapped) for name in hosts for wrapped in (False, True)]
        trainers = {arm: trainer(*arm, *cases) for arm in arms}
        seconds: dict[tuple[str, bool], list[float]] = {arm: [] for arm in arms}
        for number in range(blocks + 1):  # the first block warms up
            for arm, each in trainers.items():
                start = time.process_time()
                for _ in range(block):
                    each.step()
                if number:
                    seconds[arm].append((time.process_time() - start) / block)
            print(f"block {number} of {blocks}", file=sys.stderr, flush=True)
            if 0 < number < blocks:
                print({arm: round(median(s), 3) for arm, s in seconds.items()}, file=sys.stderr)
        return [_row(*arm, seconds[arm], trainers[arm]) for arm in arms]


def _row(name: str, wrapped: bool, seconds: list[float], each: Trainer) -> dict[str, object]:
    step = median(seconds)
    return {
        "host": name,
        "wrapped": wrapped,
        "step_cpu_s": round(step, 3),
        "range": [round(min(seconds), 3), round(max(seconds), 3)],
        "training_cpu_s": round(step * each.settings.iterations),
        "extra_weights": sum(
            p.numel() for part in each.parts.values() for p in part.net.parameters()
        ),
        "step_peak_mib": peak_mib(each.step),
    }


def main() -> None:
    from loops.ssl.registry import available

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root")
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--block", type=int, default=5)
    parser.add_argument("--hosts", nargs="*", default=[], help="some hosts only")
    given = parser.parse_args()
    hosts = given.hosts or available()
    for row in measure(given.root, hosts, given.blocks, given.block):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
