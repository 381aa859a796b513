"""Parts of a config that no single class obeys: short forms, the data, what strategies see."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from salearn.budget import even_totals
from salearn.data.cache import Recipe
from salearn.data.formats import DataSource
from salearn.data.phantoms import PhantomSettings
from salearn.data.splits import SplitSettings
from salearn.errors import ConfigError
from salearn.settings import Field, settings


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _listed(value: Any) -> Any:
    """{total, size, start} as the list of totals."""
    if not isinstance(value, dict):
        return value
    strange = sorted(set(value) - {"total", "size", "start"})
    if strange or not {"total", "size"} <= set(value):
        raise ConfigError(f"budget: write [2, 4, 8] or {{total, size, start}}, got {value}")
    return even_totals(**value)


def _optional(value: Any) -> Any:
    return None if value in ("none", {"name": "none"}) else _named(value)


Named = Annotated[dict[str, Any], BeforeValidator(_named)]
Perhaps = Annotated[dict[str, Any] | None, BeforeValidator(_optional)]
Budget = Annotated[tuple[int | float, ...], BeforeValidator(_listed)]


@settings
class DataConfig(DataSource):
    """Which data set, how it is normalised and split. No root = phantoms are made.

    Attributes:
        axis: slice axis (0, 1, 2 = x, y, z of the RAS image), for stitching and slice units.
        prompts: text prompt of a class, where it is not the class name itself.
    """

    recipe: Recipe = Recipe()
    split: SplitSettings = SplitSettings()
    phantom: PhantomSettings = PhantomSettings()
    phantom_cases: int = 40
    axis: Literal[0, 1, 2] = 2
    prompts: dict[str, str] = Field(default_factory=dict)


@settings
class EvidenceSettings:
    """What strategies see of the models.

    Attributes:
        stage: whose predictions; the EMA teacher is the steadier one.
        views: predictions that are averaged: the image itself, then views of changed intensity.
        jitter: largest change of gain and offset of a view, in standard deviations.
        dropout_passes: stochastic passes for strategies that ask for dropout, e.g. bald.
        dropout: their probability of dropping a channel; None = as the student was trained
            (`student.dropout`). A number also works with a student trained without.
        memory_mb: bounds how many cases are predicted together (one always is).
        pooling: slices of a volume vector weigh by predicted foreground, once trained, or alike.
        bank: .npy file of embeddings that stand for the pre-training data (gap mode "bank").
    """

    stage: Literal["student", "teacher"] = "teacher"
    views: int = Field(default=2, ge=1)
    jitter: float = Field(default=0.1, ge=0)
    dropout_passes: int = Field(default=8, ge=2)
    dropout: float | None = Field(default=None, gt=0, lt=1)
    memory_mb: int = Field(default=1024, ge=1)
    pooling: Literal["foreground", "uniform"] = "foreground"
    bank: str | None = None
