"""Where the embeddings of a run's candidates lie in the store: what a report reads them by."""

from __future__ import annotations

import os

from loops.workbench import Workbench
from salearn.cases import parse_patch, parse_unit, unit_box
from salearn.store import write_json


def write_pointers(bench: Workbench) -> None:
    """Write embeddings.json: {"store", "axis", "keys": {case or patch: content key}}.

    Nothing is embedded here; an entry exists once a strategy has looked at it.
    """
    embedder = bench.embedder()
    keys = {}
    for unit in bench.pool().unlabeled:
        case = parse_unit(unit)[0]
        if parse_patch(unit) is not None:
            keys[str(unit)] = embedder.key(bench.key(case), unit_box(unit, bench.config.data.axis))
        elif case not in keys:
            keys[case] = embedder.key(bench.key(case))
    store = os.path.relpath((bench.store.root / "embeddings").resolve(), bench.out.resolve())
    value = {"store": store, "axis": bench.config.data.axis, "keys": keys}
    write_json(bench.out / "embeddings.json", value)
