"""CPU-seconds a step and peak memory of the memory levers, mini on hippocampus volumes.

    python -m benchmarks.memory_levers --data .../Task04_Hippocampus

One labeled volume, mosaics of 256 pixels, augmentation with two copies. Every row is a process of
its own, so that peaks do not mix; the first steps fill the cache and are counted apart.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

STEPS, FILLING = 24, 6
ARMS: dict[str, dict[str, Any]] = {
    "lora": {"name": "lora"},
    "lora last 2": {"name": "lora", "last": 2},
    "lora_decoder": {"name": "lora_decoder"},
    "decoder": {"name": "decoder"},
}
ROWS = [(arm, cache) for arm in ARMS for cache in (False, True) if arm != "lora" or not cache]


def measured(data: Path, arm: str, cache: bool, teacher: bool = False) -> dict[str, Any]:
    """One training: CPU-seconds of the first steps and of a later one, peak memory."""
    import torch

    from loops.finetune import FinetuneSettings, _Training
    from loops.stitch import Stitcher, StitchSettings
    from loops.tuning.cache import CacheSettings
    from salearn.models.arms.registry import build
    from salearn.models.pair import TeacherSettings
    from salearn.models.sam3 import SamSettings, load_sam

    torch.set_num_threads(1)
    sam = load_sam(SamSettings(weights="mini", resolution=256), ("anterior part", "posterior part"))
    before = _peak()
    given = FinetuneSettings(
        iterations=STEPS,
        cache=CacheSettings(copies=2) if cache else None,
        teacher=TeacherSettings() if teacher else None,
    )
    named = {k: v for k, v in ARMS[arm].items() if k != "name"}
    made = build(ARMS[arm]["name"], named)
    stitcher = Stitcher(StitchSettings(tile=(32, 32), fit="crop"), 1)
    training = _Training([_volume(data)], sam, made, stitcher, given, 0)
    with tempfile.TemporaryDirectory() as folder:
        training.resume(Path(folder), "")
        clock = [time.process_time()]
        for step in range(STEPS):
            training.step(step)
            clock.append(time.process_time())
        told = training.told()
    late = clock[-1] - clock[FILLING]
    return {
        "arm": arm,
        "cache": cache,
        "teacher": teacher,
        "first": round((clock[FILLING] - clock[0]) / FILLING, 4),
        "later": round(late / (STEPS - FILLING), 4),
        "peak_mib": round(_peak() - before, 1),
        "told": told["cache"],
    }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _volume(data: Path) -> Any:
    """The first labeled volume, normalised as a run would."""
    import numpy as np

    from salearn.data.formats import DataSource, read_dataset
    from salearn.data.patches import Example
    from salearn.data.volumes import read_mask, read_volume

    found = read_dataset(DataSource(root=str(data)))
    case = next(case for case in found.cases if case.id in found.masks)
    volume = read_volume(case)
    mask = read_mask(found.masks[case.id], case.id, found.values, volume)
    image = np.asarray(volume.image, np.float32)
    image = (image - image.mean()) / image.std()
    return Example(case_id=case.id, image=image, mask=mask, spacing=volume.spacing)


def main() -> None:
    """Every row in a process of its own; JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--row", type=json.loads)
    given = parser.parse_args()
    if given.row is not None:
        print(json.dumps(measured(given.data, *given.row)))
        return
    for row in [*ROWS, ("decoder", False, True)]:
        call = [sys.executable, "-m", "benchmarks.memory_levers", "--data", str(given.data)]
        subprocess.run([*call, "--row", json.dumps(row)], check=True)


if __name__ == "__main__":
    main()
