"""Guard rails of a simulation that are known before anything runs; they stand in run.json."""

from __future__ import annotations

from collections.abc import Iterator

from loops.config import RunConfig
from salearn.data.formats import Dataset
from salearn.data.splits import Split


def guards_of(config: RunConfig, dataset: Dataset, split: Split) -> list[dict[str, str]]:
    """Rows {"guard", "level": "ok" or "warning", "words"}.

    What is an error stops the run instead: a patient in two parts, another split than that of
    replayed queries, picks that are not distinct, unlabeled and finite.

    Source: reference protocol of active-learning simulation (nnActive, COLosSAL and their traps).
    """
    rows = _patients(dataset), _validation(split, _rate_chosen(config)), *_fixed(config)
    return [{"guard": guard, "level": level, "words": words} for guard, level, words in rows]


def _patients(dataset: Dataset) -> tuple[str, str, str]:
    unknown = sum(case.patient is None for case in dataset.cases)
    if unknown:
        words = f"the patient of {unknown} of {len(dataset.cases)} cases is unknown; each such case"
        return "split by patient", "warning", f"{words} counts as a patient of its own"
    return "split by patient", "ok", "no patient is in two parts"


def _rate_chosen(config: RunConfig) -> bool:
    return config.alone and config.adaptation.choose_rate != "off"


def _validation(split: Split, rate: bool) -> tuple[str, str, str]:
    count = len(split.validation)
    if count and rate:
        words = f"{count} validation cases choose the learning rate; their masks come on top of"
        return "validation", "warning", f"{words} every budget"
    if count:
        words = f"{count} validation cases are annotated beyond the budget; nothing is chosen by"
        return "validation", "warning", f"{words} them, but their masks were paid for"
    return "validation", "ok", "no validation cases; no checkpoint is chosen by a score"


def _fixed(config: RunConfig) -> Iterator[tuple[str, str, str]]:
    length = config.finetune.iterations if config.alone else config.student.iterations
    yield "training length", "ok", f"{length} iterations at every budget"
    yield "normalisation", "ok", "from each image alone, no mask and no other image"
    start = config.start
    words = f"{start.units} units by {start.strategy}" if start.units else "true cold start"
    yield "start", "ok", words
    if config.pretext is not None:
        seen = config.pretext.get("pool") == "all"
        words = "images of scored cases too (transductive)" if seen else "images of the pool alone"
        yield "pretext", "warning" if seen else "ok", f"SAM3's trunk learned from {words}"
