"""The settings of one run (a cell), gathered from the classes that obey them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from loops.adaptation.settings import AdaptationSettings
from loops.config_parts import Budget, DataConfig, EvidenceSettings, Named, Perhaps
from loops.finetune import FinetuneSettings
from loops.sfr.confidence import PseudoSettings
from loops.sfr.gate import GateSettings
from loops.sfr.plus_settings import SfrPlusSettings
from loops.sfr.presets import with_preset
from loops.sfr.refusals import refuse_conflicts
from loops.sfr.selective import SelectiveSettings
from loops.sinks.fan import check_names
from loops.ssl.registry import HOSTS, Host
from loops.stitch import StitchSettings
from loops.student import PseudoLossSettings, StudentSettings
from loops.studies.replays import with_order
from loops.studies.search.tuned import with_tuned
from salearn.budget import Schedule, resized, totals, with_start
from salearn.cases import CaseId
from salearn.config import read_yaml
from salearn.errors import ConfigError
from salearn.features.embed import EmbedSettings
from salearn.metrics.auc_levels import AucSettings
from salearn.metrics.surface import SurfaceSettings
from salearn.models.arms.registry import ARMS, Arm
from salearn.models.pretexts.registry import PRETEXTS, Pretext
from salearn.models.sam3 import SamSettings
from salearn.oracle import CostModel
from salearn.settings import Field, keyed, nearest, parse, settings
from salearn.store import content_key
from salearn.units import PatchGrid
from strategies.constrained import Constrained, LimitSettings
from strategies.registry import STRATEGIES, Strategy
from strategies.start import Started, StartSettings

SFR, SFR_PLUS = "sfr_", "sfr_plus_"
ALONE = "sam"  # learner: adapted SAM3 segments by itself, there is no student
# Keys that say where and how a run works, not what it computes.
PLACE_KEYS = (
    "preset", "tuned", "out", "store", "threads", "save_predictions", "panels", "sinks",
)  # fmt: skip


@settings
class RunConfig:
    """One cell: data set x strategy x learner x draw seed x train seed, over a budget schedule.

    Attributes:
        unit: what is annotated at once: whole volumes, slices across `data.axis`, or patches.
        patches: the grid of patch units.
        budget: totals of annotated units, strictly rising, one per round; a float is a share of
            the units that can be annotated. Or {total: 32, size: 4, start: 2}.
        query_size: 0.5 halves every query after the start set, 2 doubles it; 1 = as `budget` says.
        start: a start set that is shared by all strategies, or the true cold start (the default).
        strategy: name, or {name: ..., setting: ..., limits: {per_patient: ..., ...}}.
        learner: a host ("supervised", "mean_teacher", ...), "sfr_" + host or "sfr_plus_" + host;
            settings of the host stand beside the name. "sam": no student, adapted SAM3 segments.
        adaptation: with learner "sam": rates of an arm, an external test set.
        arm: what of SAM3 is trained: "lora", "full", "adapter", ... (`salearn list arms`), or
            {name: ..., setting: ...}.
        pretext: "none", or what trains SAM3's vision trunk on images alone before anything else:
            {name: mae, form: A, ...}; all cells of a store share the trunk.
        preset: a name in configs/presets (sfr-paper, sfr-fixed) or a file; what the config itself
            sets wins over it.
        tuned: best.yaml of `salearn search`; its overrides are put in, and the search is named.
        audit: compare admitted and refused pseudo-labels with hidden masks after each round; the
            masks are opened under "audit" in the query log, and nothing learns from them.
        out: the run folder. store: folder of shared expensive results (default: beside `out`).
        max_unlabeled: most unlabeled cases that a round trains on, drawn anew per round.
        threads: torch threads of this process; 1 is right on a shared machine.
        panels: worst test cases of a round that the report shows, with the chosen units; 0 = none.
        sinks: where the run is also shown: "tensorboard", "wandb", "mlflow", or none of them.
    """

    NEWER: ClassVar[tuple[str, ...]] = ("pretext",)
    data: DataConfig = DataConfig()
    unit: Literal["volume", "slice", "patch"] = "volume"
    patches: PatchGrid = PatchGrid()
    budget: Budget = (1, 2, 4)
    query_size: float = Field(default=1.0, gt=0)
    start: StartSettings = StartSettings()
    strategy: Named = Field(default_factory=lambda: {"name": "random"})
    learner: Named = Field(default_factory=lambda: {"name": "supervised"})
    draw_seed: int = 0
    train_seed: int = 0
    sam: SamSettings = SamSettings()
    arm: Named = Field(default_factory=lambda: {"name": "lora"})
    pretext: Perhaps = None
    stitch: StitchSettings = StitchSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    pseudo: PseudoSettings = PseudoSettings()
    pseudo_loss: PseudoLossSettings = PseudoLossSettings()
    selective: SelectiveSettings = SelectiveSettings()
    gate: GateSettings = GateSettings()
    sfr_plus: SfrPlusSettings = SfrPlusSettings()
    audit: bool = False
    preset: str | None = None
    tuned: dict[str, Any] | None = None
    embed: EmbedSettings = EmbedSettings()
    student: StudentSettings = StudentSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    adaptation: AdaptationSettings = AdaptationSettings()
    surface: SurfaceSettings = SurfaceSettings()
    auc: AucSettings = AucSettings()
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
        self.num_rounds  # noqa: B018  (refuses what cannot be)
        self.build_strategy()
        self.build_host()
        self.build_arm()
        self.build_pretext()
        check_names(self.sinks)
        refuse_conflicts(self)

    def totals(self, num_units: int) -> tuple[int, ...]:
        """Annotated units after each round: `budget` with the start set, in queries of its size."""
        return resized(
            with_start(totals(self.budget, num_units), self.start.units), self.query_size
        )

    @property
    def num_rounds(self) -> int:
        """Rounds of a run, known before the data are."""
        if all(isinstance(b, int) for b in self.budget):
            return len(self.totals(1))
        if self.query_size != 1 or self.start.units:
            raise ConfigError(
                "budget: shares of the pool go with neither `query_size` nor `start`; "
                "name whole numbers"
            )
        return len(self.budget)

    def build_strategy(self, patients: Mapping[CaseId, str] | None = None) -> Strategy:
        """The strategy; ConfigError on an unknown name or setting.

        A strategy that looks along slices follows `data.axis`, unless its own `axis` is set.
        `strategy.limits` constrains it, `start` puts another one before it.

        Args:
            patients: patient of each case, for `strategy.limits.per_patient`.
        """
        name, values = _name(self.strategy, "strategy"), _rest(self.strategy)
        limits = values.pop("limits", None)
        if "axis" in getattr(STRATEGIES.cls(name), "__dataclass_fields__", {}):
            values = {"axis": self.data.axis} | values
        made = STRATEGIES.build(name, values)
        if limits:
            rules = parse(LimitSettings, limits, "strategy.limits")
            made = Constrained(
                strategy=made, limits=rules, patients=patients or {}, cost=self.cost,
                axis=self.data.axis,
            )  # fmt: skip
        return Started(STRATEGIES.build(self.start.strategy), made) if self.start.units else made

    def build_host(self) -> Host:
        """The host of the learner; ConfigError on an unknown name or setting.

        SAM3 alone trains no student: its host is the plainest one, for whoever asks.
        """
        name, hosts = self.learner_name, HOSTS.available()
        if self.alone and not _rest(self.learner):
            return HOSTS.build("supervised", {})
        if self.host_name not in hosts:
            known = [prefix + host for prefix in ("", SFR, SFR_PLUS) for host in hosts] + [ALONE]
            raise ConfigError(f"unknown learner '{name}': {nearest(name, known)}")
        return HOSTS.build(self.host_name, _rest(self.learner))

    def build_arm(self) -> Arm:
        """What of SAM3 is trained; ConfigError on an unknown name or setting."""
        return ARMS.build(_name(self.arm, "arm"), _rest(self.arm))

    def build_pretext(self) -> Pretext | None:
        """What trains the trunk first; ConfigError on an unknown name or setting."""
        if self.pretext is None:
            return None
        return PRETEXTS.build(_name(self.pretext, "pretext"), _rest(self.pretext))

    @property
    def host_name(self) -> str:
        """Registered name of the host, without a prefix."""
        return self.learner_name.removeprefix(SFR_PLUS if self.plus else SFR)

    @property
    def alone(self) -> bool:
        """Whether SAM3 segments by itself, without a student."""
        return self.learner_name == ALONE

    @property
    def operating(self) -> bool:
        """Whether Dice at every threshold is kept."""
        return self.alone and self.adaptation.operating

    @property
    def headline(self) -> str:
        """The stage that a run is about."""
        return "sam" if self.alone else "student"

    @property
    def plus(self) -> bool:
        """Whether SAM3 and the student teach one another in turns (SFR+)."""
        return self.learner_name.startswith(SFR_PLUS)

    @property
    def turns(self) -> int:
        """Turns of SFR+; 1 for plain SFR."""
        return self.sfr_plus.turns if self.plus else 1

    @property
    def strategy_name(self) -> str:
        """Name of the arm: the strategy, or "replay_" + that of the run that is replayed."""
        replayed = self.strategy.get("of") if self.strategy["name"] == "replay" else None
        return f"replay_{replayed}" if replayed else str(self.strategy["name"])

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
        values = {k: v for k, v in keyed(self).items() if k not in PLACE_KEYS}
        for part in ("sam", "student"):
            del values[part]["device"]
        if not self.alone:
            values.pop("adaptation", None)
        elif root := self.adaptation.external.root:
            values["adaptation"]["external"]["root"] = str(Path(root).resolve())
        if self.unit != "patch":
            del values["patches"]
        if self.data.root:
            values["data"]["root"] = str(Path(self.data.root).resolve())
        return content_key("cell", values)


def load_run(path: Path, changes: Sequence[str] = ()) -> RunConfig:
    """The run that a YAML file and overrides describe; other sections are left aside."""
    values = with_tuned(read_yaml(path), changes)
    for section in ("study", "search"):
        values.pop(section, None)
    return parse_run(values, str(path))


def parse_run(values: Mapping[str, Any], where: str) -> RunConfig:
    """A checked run from plain values.

    Raises:
        ConfigError: unknown key or name (with the nearest right one), or a value that cannot be.
    """
    return parse(RunConfig, with_order(with_preset(values, where)), where)


def _name(value: Mapping[str, Any], key: str) -> str:
    if not isinstance(value.get("name"), str):
        raise ConfigError(f"{key}: give a name, e.g. {key}=random or {key}.name=random")
    return str(value["name"])


def _rest(value: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in value.items() if k != "name"}
