"""The cases that a search looks at: drawn from the pool, frozen by hash, paid for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from loops.studies.search.settings import SearchSettings
from loops.workbench import Workbench
from salearn.cases import CaseId, Pool, unit_id
from salearn.errors import ConfigError
from salearn.store import content_key, read_json, write_json

FILE = "proxy.json"


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """Training and validation cases of a search; no patient is in both.

    Attributes:
        record: as stored: ids, hashes of images and masks, and "hash" over all of it.
    """

    train: tuple[CaseId, ...]
    validation: tuple[CaseId, ...]
    record: dict[str, Any]

    def pool(self, bench: Workbench) -> Pool:
        """Training cases labeled, the rest of the pool unlabeled, validation cases nowhere."""
        seen = {*self.train, *self.validation}
        rest = [case for case in bench.split.pool if case not in seen]
        return Pool(
            labeled=tuple(unit_id(case) for case in self.train),
            unlabeled=tuple(unit_id(case) for case in rest),
        )


def freeze(bench: Workbench, settings: SearchSettings) -> Proxy:
    """Draw the cases, open their masks through the oracle, and hold the draw to what was drawn.

    Both parts are charged as annotations: choosing settings by them spends these masks.

    Raises:
        ConfigError: too few annotated cases in the pool, or the folder holds another draw.
    """
    validation, train = _draw(bench, settings)
    bench.oracle.annotate([unit_id(case) for case in (*train, *validation)], 0)
    content: dict[str, Any] = {
        "train": list(train),
        "validation": list(validation),
        "seed": settings.seed,
        "images": {case: bench.key(case) for case in (*train, *validation)},
        "masks": {case: bench.oracle.digest(case) for case in (*train, *validation)},
    }
    record = content | {"hash": content_key(content), "spent": bench.oracle.spent()}
    path = bench.out / FILE
    if path.exists() and read_json(path)["hash"] != record["hash"]:
        raise ConfigError(
            f"{path}: this search was begun on other cases (hash {read_json(path)['hash']}, now "
            f"{record['hash']}): the data, the split or search.masks, validation or seed changed; "
            "restore them, or name another folder with search.out=..."
        )
    write_json(path, record)
    return Proxy(train=train, validation=validation, record=record)


def _draw(
    bench: Workbench, settings: SearchSettings
) -> tuple[tuple[CaseId, ...], tuple[CaseId, ...]]:
    """Validation and training cases: patients ranked by a hash, as in the split of the data."""
    masked = [case for case in bench.split.pool if case in bench.dataset.masks]
    groups: dict[str, list[CaseId]] = {}
    for case in masked:
        groups.setdefault(bench.patients.get(case, f"case {case}"), []).append(case)
    order = sorted(groups, key=lambda group: _rank(settings.seed, group))
    parts: list[tuple[CaseId, ...]] = []
    for count in (settings.validation, settings.masks):
        chosen: list[CaseId] = []
        for group in list(order):
            if len(chosen) + len(groups[group]) <= count:
                chosen += groups[group]
                order.remove(group)
        if len(chosen) < count:
            raise ConfigError(
                f"search: {settings.masks} cases to train on and {settings.validation} to validate "
                f"on are asked for, and the pool has {len(masked)} with a mask (patients stay "
                "together); lower search.masks or search.validation"
            )
        parts.append(tuple(sorted(chosen)))
    return parts[0], parts[1]


def _rank(seed: int, group: str) -> str:
    return hashlib.sha256(f"proxy:{seed}:{group}".encode()).hexdigest()
