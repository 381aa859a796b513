"""The pretext of a run by itself: trained, its drift told, zero-shot scored before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from loops.config import RunConfig, load_run
from loops.measuring.measure import measure
from loops.pretraining.trunk import DRIFT, RECORD
from loops.progress import Progress
from loops.stitch import Stitcher
from loops.studies.study import load_study, run_config
from loops.workbench import Workbench
from salearn.config import read_yaml
from salearn.errors import ConfigError
from salearn.models.pretexts.trunk import load_trunk
from salearn.models.sam3 import Sam, load_sam, sam_key
from salearn.models.sam3_segmenter import SamSegmenter
from salearn.settings import keyed
from salearn.store import content_key, read_json, write_json

BEFORE, AFTER = "sam_before", "sam_after"


def pretext_configs(path: Path, changes: Sequence[str] = ()) -> list[RunConfig]:
    """The run in a file, or of a study one run for each trunk that its cells need.

    Raises:
        ConfigError: nothing in the file has a pretext.
    """
    if "study" not in read_yaml(path):
        configs = [load_run(path, changes)]
    else:
        configs = [run_config(cell) for cell in load_study(path, changes).cells]
    found: dict[str, RunConfig] = {}
    for config in configs:
        if config.pretext is not None:
            how = [keyed(part) for part in (config.data, config.sam, config.stitch)]
            found.setdefault(content_key(config.pretext, how), config)
    if not found:
        raise ConfigError(
            f"{path}: nothing here has a pretext; add e.g. `pretext: {{name: mae, form: A}}`, or "
            "say pretext.name=mae"
        )
    return list(found.values())


def run_pretext(config: RunConfig, out: Path, progress: Progress) -> dict[str, Any]:
    """Train the trunk of a run config, or find it, and say how far it has moved.

    The trunk lies in the store of the config, so the run itself finds it. Zero-shot scores open
    validation and test masks, under those headings of `out`/queries.jsonl.

    Returns:
        {"pretext", "key", "folder", "transductive", "fit", "drift", "zero_shot"}; also written to
        `out`/drift.json.

    Raises:
        ConfigError: the trunk cannot take such pictures.
    """
    store = str(config.store_path)
    bench = Workbench(replace(config, out=str(out), store=store), progress)
    if bench.trunk is None:
        raise ValueError("this config has no pretext")
    old = load_sam(config.sam, bench.prompts)
    folder = bench.trunk.fitted(old)
    record = read_json(folder / RECORD)
    found = {
        "pretext": record["pretext"],
        "key": record["key"],
        "folder": str(folder),
        "transductive": record["transductive"],
        "fit": record["fit"],
        "drift": read_json(folder / DRIFT),
        "zero_shot": _zero_shot(bench, old, load_trunk(old, folder)),
    }
    write_json(out / DRIFT, found)
    return found


def _zero_shot(bench: Workbench, old: Sam, new: Sam) -> dict[str, dict[str, float]]:
    """Mean Dice of the text prompts by part of the split: {"test": {"before", "after"}, ...}."""
    config = bench.config
    stitcher = Stitcher(config.stitch, config.data.axis)
    keys = (sam_key(config.sam), bench.sam_key)
    stages = {
        name: (SamSegmenter(sam, stitcher), content_key("zero", key, bench.prompts))
        for name, sam, key in zip((BEFORE, AFTER), (old, new), keys, strict=True)
    }
    rows = measure(bench, stages, 0)["metrics"]
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["class"] == "mean":
            when = "before" if row["stage"] == BEFORE else "after"
            found.setdefault(row["split"], {})[when] = row["dice"]
    return found
