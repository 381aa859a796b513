"""The settings of one run (a cell), gathered from the classes that obey them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from loops.finetune import FinetuneSettings
from loops.pseudo import PseudoSettings
from loops.sinks.fan import check_names
from loops.ssl.registry import HOSTS, Host
from loops.stitch import StitchSettings
from loops.student import PseudoLossSettings, StudentSettings
from salearn.budget import Schedule, totals
from salearn.config import override, read_yaml
from salearn.data.cache import Recipe
from salearn.data.formats import DataSource
from salearn.data.phantoms import PhantomSettings
from salearn.data.splits import SplitSettings
from salearn.errors import ConfigError
from salearn.features.embed import EmbedSettings
from salearn.metrics.surface import SurfaceSettings
from salearn.models.lora import LoraSettings
from salearn.models.sam3 import SamSettings
from salearn.oracle import CostModel
from salearn.settings import Field, dump, nearest, parse, settings
from salearn.store import content_key
from strategies.registry import STRATEGIES, Strategy

SFR = "sfr_"
# Keys that say where and how a run works, not what it computes.
PLACE_KEYS = ("out", "store", "threads", "save_predictions", "panels", "sinks")


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


Named = Annotated[dict[str, Any], BeforeValidator(_named)]


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
        pooling: slices of a volume vector are weighted by predicted foreground once something is
            trained, or always alike ("uniform").
        bank: .npy file of embeddings that stand for the pre-training data (gap mode "bank").
    """

    stage: Literal["student", "teacher"] = "teacher"
    views: int = Field(default=2, ge=1)
    jitter: float = Field(default=0.1, ge=0)
    pooling: Literal["foreground", "uniform"] = "foreground"
    bank: str | None = None


@settings
class RunConfig:
    """One cell: data set x strategy x learner x draw seed x train seed, over a budget schedule.

    Attributes:
        budget: totals of annotated units, strictly rising, one per round; a float is a share of
            the units that can be annotated.
        strategy: name, or {name: ..., setting: ...}.
        learner: a host ("supervised", "mean_teacher", ...) or "sfr_" + host; settings of the host
            stand beside the name.
        out: the run folder. store: folder of shared expensive results (default: beside `out`).
        max_unlabeled: most unlabeled cases that a round trains on, drawn anew per round.
        threads: torch threads of this process; 1 is right on a shared machine.
        panels: worst test cases of a round that are drawn for the report, with the chosen units;
            0 = no pictures.
        sinks: where the run is also shown: "tensorboard", "wandb", "mlflow", or none of them.
    """

    data: DataConfig = DataConfig()
    unit: Literal["volume", "slice"] = "volume"
    budget: tuple[int | float, ...] = (1, 2, 4)
    strategy: Named = Field(default_factory=lambda: {"name": "random"})
    learner: Named = Field(default_factory=lambda: {"name": "supervised"})
    draw_seed: int = 0
    train_seed: int = 0
    sam: SamSettings = SamSettings()
    lora: LoraSettings = LoraSettings()
    stitch: StitchSettings = StitchSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    pseudo: PseudoSettings = PseudoSettings()
    pseudo_loss: PseudoLossSettings = PseudoLossSettings()
    embed: EmbedSettings = EmbedSettings()
    student: StudentSettings = StudentSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    surface: SurfaceSettings = SurfaceSettings()
    cost: CostModel = CostModel()
    out: str = "runs/run"
    store: str | None = None
    max_unlabeled: int | None = None
    threads: int = 1
    save_predictions: bool = False
    panels: int = Field(default=3, ge=0)
    sinks: tuple[str, ...] = ("tensorboard",)

    def __post_init__(self) -> None:
        known = totals(self.budget, num_units=1)
        if known == self.budget:  # no shares: what they come to is known once the data are open
            Schedule.of_totals(known)
        self.build_strategy()
        self.build_host()
        check_names(self.sinks)

    def build_strategy(self) -> Strategy:
        """The strategy; ConfigError on an unknown name or setting.

        A strategy that looks along slices follows `data.axis`, unless its own `axis` is set.
        """
        name, values = _name(self.strategy, "strategy"), _rest(self.strategy)
        if "axis" in getattr(STRATEGIES.cls(name), "__dataclass_fields__", {}):
            values = {"axis": self.data.axis} | values
        return STRATEGIES.build(name, values)

    def build_host(self) -> Host:
        """The host of the learner; ConfigError on an unknown name or setting."""
        name = self.learner_name
        host = name.removeprefix(SFR)
        if host not in HOSTS.available():
            known = [*HOSTS.available(), *(SFR + h for h in HOSTS.available())]
            raise ConfigError(f"unknown learner '{name}': {nearest(name, known)}")
        return HOSTS.build(host, _rest(self.learner))

    @property
    def learner_name(self) -> str:
        """Registered name, with the prefix "sfr_" where the host is wrapped."""
        return _name(self.learner, "learner")

    @property
    def sfr(self) -> bool:
        """Whether SAM3 is fine-tuned and its pseudo-labels enter the student's loss."""
        return self.learner_name.startswith(SFR)

    @property
    def store_path(self) -> Path:
        """Folder of shared results."""
        return Path(self.store) if self.store else Path(self.out).parent / "store"

    @property
    def key(self) -> str:
        """Content key of what the run computes, wherever it lies."""
        values = {k: v for k, v in dump(self).items() if k not in PLACE_KEYS}
        for part in ("sam", "student"):
            del values[part]["device"]
        if self.data.root:
            values["data"]["root"] = str(Path(self.data.root).resolve())
        return content_key("cell", values)


def load_run(path: Path, changes: Sequence[str] = ()) -> RunConfig:
    """The run that a YAML file and overrides describe; a `study` section is left aside."""
    values = override(read_yaml(path), changes)
    values.pop("study", None)
    return parse_run(values, str(path))


def parse_run(values: Mapping[str, Any], where: str) -> RunConfig:
    """A checked run from plain values.

    Raises:
        ConfigError: unknown key or name (with the nearest right one), or a value that cannot be.
    """
    return parse(RunConfig, values, where)


def _name(value: Mapping[str, Any], key: str) -> str:
    if not isinstance(value.get("name"), str):
        raise ConfigError(f"{key}: give a name, e.g. {key}=random or {key}.name=random")
    return str(value["name"])


def _rest(value: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in value.items() if k != "name"}
