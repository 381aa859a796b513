"""The `search` section of a config: which inner settings are searched, and how."""

from __future__ import annotations

from typing import Any, Literal

from loops.studies.study_settings import REASONS
from salearn.errors import ConfigError
from salearn.settings import Field, nearest, parse, settings

# Sections that only say how something is trained; all others decide what is paid or compared.
INNER = (
    "arm", "finetune", "gate", "learner", "pseudo", "pseudo_loss", "selective", "sfr_plus",
    "stitch", "student",
)  # fmt: skip


@settings
class Range:
    """Numbers from `low` to `high`, both included; whole numbers if both are whole.

    Attributes:
        log: equal ratios are as likely, for rates and weights over orders of magnitude.
        step: only low + k step; None = any.
    """

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ConfigError(
                f"a range needs low < high, and low > 0 with log, got {self.low} to {self.high}"
            )

    @property
    def ends(self) -> list[Any]:
        """Its lowest and its highest value."""
        return [self.low, self.high]


@settings
class SearchSettings:
    """The `search` section of a config.

    Attributes:
        space: dotted key of an inner setting -> {low, high, log, step}, or a list of values.
        masks: cases of the pool whose masks every trial is trained on.
        validation: cases of the pool that trials are scored on; their masks are paid for as well.
        seed: of the draw of these cases and of the sampler.
        trials: beside the one with the settings as they stand, which is always run.
        reports: equally spaced steps of the student's training at which validation Dice is read.
        stage: whose Dice; "sam" scores the adapter and trains no student.
        scheduler: "asha" stops the worse trials of a rung early: all are trials of one cell, on
            the same masks and at equal steps.
        reduction: 1 of so many trials goes on after a rung of ASHA.
        out: folder of the search.
        backend: "ray", or "serial": one trial after the other in this process, reproducible.
        address, cpu, gpu, parallel, object_store_mb: as in `study`.
    """

    space: dict[str, Any] = Field(default_factory=dict)
    masks: int = Field(default=4, ge=1)
    validation: int = Field(default=4, ge=1)
    seed: int = 0
    trials: int = Field(default=20, ge=1)
    reports: int = Field(default=4, ge=1)
    stage: Literal["teacher", "student", "sam"] = "teacher"
    scheduler: Literal["fifo", "asha", "pbt"] = "fifo"
    reduction: int = Field(default=3, ge=2)
    out: str = "searches/search"
    backend: Literal["ray", "serial"] = "ray"
    address: str = ""
    cpu: float = Field(default=1, gt=0)
    gpu: float = Field(default=0, ge=0)
    parallel: int | None = Field(default=None, ge=1)
    object_store_mb: int = Field(default=128, ge=80)

    def __post_init__(self) -> None:
        if not self.space:
            raise ConfigError(
                "search.space: name at least one setting, e.g. student.learning_rate: {low: 0.001, "
                "high: 0.01, log: true}"
            )
        for key in self.space:
            self.options(key)
        if self.scheduler == "pbt":
            raise ConfigError(
                f"search.scheduler=pbt is refused: {REASONS['pbt']}; and its result is a schedule "
                "of settings, which a study could not name: use fifo or asha"
            )
        if self.scheduler == "asha":
            self._check_asha()

    def _check_asha(self) -> None:
        if "student.iterations" in self.space or self.stage == "sam":
            raise ConfigError(
                "search.scheduler=asha compares trials at equal steps of the student: take "
                "student.iterations out of search.space, and a stage other than sam"
            )
        if self.backend != "ray":
            raise ConfigError(
                "search.scheduler=asha compares trials that run side by side: use "
                "search.backend=ray, or scheduler=fifo"
            )

    def options(self, key: str) -> Range | list[Any]:
        """What a setting may be.

        Raises:
            ConfigError: no inner setting, or neither a range nor a list.
        """
        root = key.partition(".")[0]
        if root not in INNER or key in INNER or key.endswith(".name"):
            raise ConfigError(
                f"search.space.{key}: only inner settings are searched ({nearest(root, INNER)}); "
                "what is compared or paid for (data, budget, strategy, learner, seeds) is a factor "
                "of a study: validation Dice would choose between budgets or methods"
            )
        value = self.space[key]
        if isinstance(value, list) and len(value) > 1:
            return value
        if isinstance(value, dict):
            return parse(Range, value, f"search.space.{key}")
        raise ConfigError(
            f"search.space.{key}: write a list of two values or more, or {{low: , high: }}"
        )
