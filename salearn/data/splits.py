"""Pool, validation and test: drawn by patient, whatever the order of the cases."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from salearn.cases import CaseId
from salearn.data.source import Dataset
from salearn.errors import ConfigError
from salearn.settings import nearest, settings
from salearn.store import content_key

__all__ = ["Split", "SplitSettings", "make_split"]

PARTS = ("pool", "validation", "test", "unmasked", "unused")
Part = int | float | tuple[str, ...] | str


@settings
class SplitSettings:
    """How many cases, or which, are kept out of the pool.

    Attributes:
        test, validation: a whole number = cases; a fraction below 1 = share of the cases with a
            mask; a list of case ids; or the path of a JSON file with such a list (also a stored
            split record, or an object with the keys "test" and "validation").
        seed: for what is drawn. Another seed is another test set: keep it fixed within a study.
    """

    test: Part = 0.2
    validation: Part = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("test", "validation"):
            value = getattr(self, name)
            if isinstance(value, float) and not 0 <= value < 1:
                raise ConfigError(
                    f"split.{name}: {value} is no share; give a fraction from 0 to below 1, or a "
                    "whole number of cases"
                )
            if isinstance(value, int) and value < 0:
                raise ConfigError(f"split.{name}: {value} cases cannot be; give 0 or more")


@dataclass(frozen=True, kw_only=True)
class Split:
    """The parts of a data set; each sorted by id, none shares a patient with another.

    Attributes:
        pool: what may be learned from, with or without a mask.
        unmasked: the cases of the pool that have no mask: unlabeled data that cannot be annotated.
        unused: cases without a mask whose patient is in test or validation.
    """

    pool: tuple[CaseId, ...]
    validation: tuple[CaseId, ...]
    test: tuple[CaseId, ...]
    unmasked: tuple[CaseId, ...] = ()
    unused: tuple[CaseId, ...] = ()

    def counts(self) -> dict[str, int]:
        """Number of cases of each part."""
        return {name: len(getattr(self, name)) for name in PARTS}

    def record(self, dataset: Dataset, image_hashes: Mapping[CaseId, str]) -> dict[str, Any]:
        """Plain values to store in a run: ids and their SHA-256 per part, patients, image hashes.

        "hash" covers all of it: equal hashes mean the same cases, images, classes and parts.

        Args:
            image_hashes: of every case, as salearn.data.cache.image_hash gives them.
        """
        patients = {case.id: case.patient for case in dataset.cases if case.patient is not None}
        used = sorted({*self.pool, *self.validation, *self.test})
        content = {
            "dataset": dataset.name,
            "classes": dict(zip(dataset.classes, dataset.values, strict=True)),
            "parts": {name: _part_record(getattr(self, name)) for name in PARTS},
            "patients": patients,
            "images": {case: image_hashes[case] for case in used},
        }
        return content | {"hash": content_key(content)}


def make_split(dataset: Dataset, settings: SplitSettings) -> Split:
    """Draw (or look up) test and validation; all other cases are the pool.

    Patients are ranked by a hash of seed and name, so neither the order of the cases nor new cases
    move the others about. Whole patients are taken while they fit, so a count can fall short by
    less than one patient. Only cases with a mask are taken.

    Raises:
        ConfigError: too few cases, an unknown id, a case without a mask in a list, or lists that
            put one patient into two parts.
    """
    groups = _groups(dataset)
    test = _take(dataset, settings.test, "test", settings.seed, groups, taken=())
    validation = _take(dataset, settings.validation, "validation", settings.seed, groups, test)
    owner = {case: name for name, cases in groups.items() for case in cases}
    out_patients = {owner[case] for case in (*test, *validation)}
    rest = sorted(owner.keys() - {*test, *validation})
    unused = tuple(case for case in rest if owner[case] in out_patients)
    split = Split(
        pool=tuple(case for case in rest if case not in set(unused)),
        validation=validation,
        test=test,
        unmasked=tuple(case for case in rest if case not in {*dataset.masks, *unused}),
        unused=unused,
    )
    _refuse(dataset, split, owner)
    if not isinstance(settings.test, tuple | str):
        _refuse_unmasked(dataset, split)
    return split


def _groups(dataset: Dataset) -> dict[str, list[CaseId]]:
    """Patient (or the case itself) -> its cases, with or without a mask."""
    groups: dict[str, list[CaseId]] = defaultdict(list)
    for case in dataset.cases:
        name = f"case {case.id}" if case.patient is None else f"patient {case.patient}"
        groups[name].append(case.id)
    return dict(groups)


def _take(
    dataset: Dataset,
    wanted: Part,
    part: str,
    seed: int,
    groups: Mapping[str, Sequence[CaseId]],
    taken: Sequence[CaseId],
) -> tuple[CaseId, ...]:
    """The cases of one part, sorted."""
    if isinstance(wanted, (str, tuple)):
        ids = _read_ids(wanted, part) if isinstance(wanted, str) else wanted
        return _listed(dataset, ids, part)
    count = wanted
    if isinstance(wanted, float):
        count = max(1, round(wanted * len(dataset.masks))) if wanted > 0 and dataset.masks else 0
    chosen: list[CaseId] = []
    for name in sorted(groups, key=lambda group: _rank(seed, group)):
        masked = [case for case in groups[name] if case in dataset.masks]
        if not set(masked) & set(taken) and len(chosen) + len(masked) <= count:
            chosen += masked
    left = len(dataset.masks) - len(set(taken))
    if count > left or (count > 0 and not chosen):
        raise ConfigError(
            f"split.{part}: {count} cases asked for, but {len(dataset.masks)} of "
            f"{len(dataset.cases)} cases of '{dataset.name}' have a mask, {len(taken)} are taken "
            "already, and patients stay together; ask for another number"
        )
    return tuple(sorted(chosen))


def _rank(seed: int, group: str) -> str:
    return hashlib.sha256(f"{seed}:{group}".encode()).hexdigest()


def _listed(dataset: Dataset, ids: Iterable[str], part: str) -> tuple[CaseId, ...]:
    """Check a list of ids that somebody wrote."""
    known = {str(case.id) for case in dataset.cases}
    for name in ids:
        if name not in known:
            raise ConfigError(f"split.{part}: no case '{name}', {nearest(name, known)}")
        if name not in dataset.masks:
            raise ConfigError(f"split.{part}: case '{name}' has no mask; take it off the list")
    return tuple(sorted({CaseId(name) for name in ids}))


def _read_ids(path: str, part: str) -> tuple[str, ...]:
    """Case ids from a JSON list, from {part: list}, or from a stored split record."""
    try:
        content = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"split.{part}: {path} cannot be read as JSON ({error})") from None
    if isinstance(content, dict):
        content = content.get("parts", content).get(part)
        content = content.get("cases") if isinstance(content, dict) else content
    if not isinstance(content, list) or not all(isinstance(name, str) for name in content):
        remedy = f'write ["case", ...] or {{"{part}": ["case", ...]}}'
        raise ConfigError(f"split.{part}: {path} holds no list of case ids; {remedy}")
    return tuple(content)


def _refuse(dataset: Dataset, split: Split, owner: Mapping[CaseId, str]) -> None:
    """No patient in two parts, and something left to annotate.

    Raises:
        ConfigError: naming the patient and its cases, or the numbers.
    """
    parts: dict[str, dict[str, list[CaseId]]] = defaultdict(lambda: defaultdict(list))
    masked_unused = [case for case in split.unused if case in dataset.masks]
    lists = {"test": split.test, "validation": split.validation, "pool": masked_unused}
    for part, cases in lists.items():
        for case in cases:
            parts[owner[case]][part].append(case)
    for name, found in parts.items():
        if len(found) > 1:
            where = "; ".join(f"{part}: {', '.join(cases)}" for part, cases in found.items())
            remedy = "list all cases of a patient in one part"
            raise ConfigError(f"split: {name} would be in {len(found)} parts ({where}); {remedy}")
    if not split.pool:
        raise ConfigError(
            "split: no case is left in the pool; ask for fewer in test and validation"
        )


def _refuse_unmasked(dataset: Dataset, split: Split) -> None:
    """Masks were there, and drawing took them all; whoever lists the test cases means it.

    A pool without masks is for people to annotate.

    Raises:
        ConfigError: with the numbers.
    """
    if dataset.masks and len(split.pool) == len(split.unmasked):
        raise ConfigError(
            f"split: no case with a mask is left in the pool: {len(dataset.masks)} have one, "
            f"{len(split.test)} are in test, {len(split.validation)} in validation; ask for fewer, "
            "or list the test cases by name if people shall annotate the others"
        )


def _part_record(cases: Sequence[CaseId]) -> dict[str, Any]:
    digest = hashlib.sha256("\n".join(sorted(cases)).encode()).hexdigest()
    return {"num_cases": len(cases), "sha256": digest, "cases": list(cases)}
