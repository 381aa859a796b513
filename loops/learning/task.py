"""What a student learns from what, checked before any time is spent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from loops.learning.student_settings import StudentSettings
from loops.ssl.pseudo_label import PseudoLossSettings
from loops.ssl.registry import HOSTS, Host
from salearn.data.patches import Example, check_examples
from salearn.errors import ConfigError, DataError, TrainingError


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is learned from what; the examples are in the order of their case ids.

    Attributes:
        pseudo: the pseudo-label term, or None for the host alone.
        label: labels the very crops of a step, in place of stored pseudo-labels.
        start: folder of a student to go on from; with `carry` its optimisers' moments are used.
    """

    labeled: Sequence[Example]
    unlabeled: Sequence[Example]
    channels: int
    num_classes: int
    host: Host
    pseudo: PseudoLossSettings | None
    seed: int
    label: Callable[[Tensor], Tensor] | None = None
    start: Path | None = None
    carry: bool = False

    def drawn(self) -> list[Example]:
        """The unlabeled examples that some term uses."""
        if self.host.unlabeled:
            return list(self.unlabeled)
        if self.pseudo is None or self.label is not None:
            return list(self.unlabeled) if self.pseudo else []
        return [e for e in self.unlabeled if e.pseudo is not None]


def make_task(
    labeled: Sequence[Example],
    unlabeled: Sequence[Example],
    num_classes: int,
    settings: StudentSettings,
    host: Host,
    pseudo: PseudoLossSettings | None,
    seed: int,
) -> Task:
    """The task, its examples in the order of their case ids.

    Raises:
        ConfigError, DataError, TrainingError: see `loops.student.train_student`.
    """
    if not labeled:
        raise TrainingError("there is no labeled case to train on; annotate at least one")
    check_host(host, settings, len(labeled), len(unlabeled))
    for example in labeled:
        if example.mask is None:
            raise DataError(f"case {example.case_id}: it counts as labeled but has no mask")
    for example in unlabeled:
        if example.mask is not None:
            raise DataError(f"case {example.case_id}: it counts as unlabeled but carries a mask")
    channels = len(labeled[0].image)
    check_examples([*labeled, *unlabeled], num_classes, channels)
    return Task(
        labeled=sorted(labeled, key=lambda e: e.case_id),
        unlabeled=sorted(unlabeled, key=lambda e: e.case_id),
        channels=channels,
        num_classes=num_classes,
        host=host,
        pseudo=pseudo,
        seed=seed,
    )


def check_host(host: Host, settings: StudentSettings, labeled: int, unlabeled: int) -> None:
    """Refuse what a host cannot be trained with, before any time is spent.

    Args:
        labeled, unlabeled: numbers of cases.

    Raises:
        ConfigError: it needs unlabeled cases and there are none, or labeled crops from different
            cases and there are fewer cases than crops.
    """
    name = host_name(host)
    if host.unlabeled and not (unlabeled and settings.unlabeled_batch):
        missing = "there is no unlabeled case" if not unlabeled else "student.unlabeled_batch is 0"
        raise ConfigError(
            f"host {name} learns from unlabeled cases and {missing}; take learner=supervised, "
            "leave cases unlabeled (a smaller budget, unmasked cases), or raise the batch"
        )
    if host.distinct_cases and settings.batch > labeled:
        raise ConfigError(
            f"host {name} with distinct=true takes {settings.batch} labeled crops of different "
            f"cases in a step (student.batch), and {labeled} are labeled; set student.batch="
            f"{labeled}, label more, or set distinct=false"
        )


def host_name(host: Host) -> str:
    """The name that a host is registered under, or that of its class."""
    names = [name for name in HOSTS.available() if HOSTS.cls(name) is type(host)]
    return names[0] if names else type(host).__name__
