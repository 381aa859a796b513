"""The settings of a 4-D job: annotated phases in, internal target volumes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from loops.config import RunConfig
from loops.config_parts import DataConfig
from loops.tuning.checks import refuse_unfit
from salearn.config import override, read_yaml
from salearn.data.cache import Recipe
from salearn.data.phantom4d import Phantom4dSettings
from salearn.data.phases import Kind, PhaseSource
from salearn.errors import ConfigError
from salearn.hard_negatives import NegativeSettings
from salearn.motion.components import ComponentRule
from salearn.motion.filters import FilterName, FilterSettings
from salearn.settings import Field, nearest, parse, settings

Mode = Literal["slice", "mosaic", "rgb", "planes"]
Arm = Literal["off", "hard"]


@settings
class StructureSettings:
    """What is particular to one class. Every class of the data needs an entry.

    Attributes:
        window: level and width in HU of the image that is shown for this structure.
        rule: which connected components are believed; there is no default on purpose.
        tolerance_mm: of the NSD.
        constant_volume: whether its volume should be the same in all phases (heart, tumour; not
            lung), so that the variation between phases is a fault.
    """

    window: tuple[float, float]
    rule: ComponentRule
    tolerance_mm: float = Field(default=2.0, ge=0)
    constant_volume: bool = True

    def __post_init__(self) -> None:
        if self.window[1] <= 0:
            raise ConfigError(f"window: width {self.window[1]} must be above 0 HU")


@settings
class PhaseConfig(DataConfig):
    """4-D scans; no root = breathing phantoms are made.

    Attributes:
        kind, phases: as in `PhaseSource`.
    """

    kind: Kind | None = None
    phases: tuple[str, ...] | None = None
    recipe: Recipe = Recipe(kind="none")
    phantom4d: Phantom4dSettings = Phantom4dSettings()
    phantom_cases: int = 10

    def __post_init__(self) -> None:
        self.source(self.root)
        if self.recipe.kind != "none":
            raise ConfigError("data.recipe: 4-D CT stays in HU (kind: none); windows are set in "
                              "structures.<class>.window")  # fmt: skip

    def source(self, root: str | None) -> PhaseSource:
        """What the reader of 4-D scans takes."""
        return PhaseSource(
            root=root, images=self.images, masks=self.masks, classes=self.classes,
            kind=self.kind, phases=self.phases,
        )  # fmt: skip


@settings
class ItvConfig(RunConfig):
    """Annotate phases, train, predict every phase, filter, build and measure ITVs.

    `budget` counts annotated phases (volumes), over all patients; `strategy` chooses them.

    Attributes:
        structures: one entry for each class.
        segmenter: fine-tuned SAM3, or the student network.
        mode: how SAM3 sees a volume: slice by slice, mosaics, three neighbouring slices as one
            color image, or the mean over slices along all three axes.
        filters: applied to the same predictions; the last one makes the files that are written.
        filter: what they have in common (its `name` is set by `filters`).
        mining: arms of fine-tuning, without and with hard negatives; the last one chooses and
            writes. negatives: how they are mined.
        full: also train on every annotated phase of the pool, to say what share of its accuracy
            is retained; its masks are opened as "audit" and are no budget.
        votes: phases that a voxel of the ITV must be in; 1 = union.
        reference_phase: name of the phase that margins are measured from; None = the first.
    """

    data: PhaseConfig = PhaseConfig()
    budget: tuple[int, ...] = (1, 3, 7)
    structures: dict[str, StructureSettings] = Field(default_factory=dict)
    segmenter: Literal["sam", "student"] = "sam"
    mode: Mode = "slice"
    filters: tuple[FilterName, ...] = ("component+connectivity",)
    filter: FilterSettings = FilterSettings()
    mining: tuple[Arm, ...] = ("hard",)
    negatives: NegativeSettings = NegativeSettings()
    full: bool = False
    votes: int = Field(default=1, ge=1)
    reference_phase: str | None = None
    sinks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, given in (("filters", self.filters), ("mining", self.mining)):
            if not given or len(set(given)) != len(given):
                raise ConfigError(f"{name}: give one or more different names, not {list(given)}")
        if self.unit != "volume":
            raise ConfigError("unit: what is annotated of a 4-D scan is a whole phase (volume)")
        if self.segmenter == "student" and self.mining != ("off",):
            raise ConfigError("mining: the student has no hard negatives; set mining=[off]")
        if self.finetune.mining is not None:
            raise ConfigError(
                "finetune.mining: a 4-D job says with `mining` which arms have hard negatives, "
                "and with `negatives` how they are mined; move the settings there"
            )
        if "hard" in self.mining:
            refuse_unfit(self.sam, self.finetune, self.negatives)

    def require_structures(self, classes: Sequence[str]) -> None:
        """Refuse data with a class that has no entry, or entries without a class.

        Raises:
            ConfigError: naming the class.
        """
        for name in classes:
            if name not in self.structures:
                raise ConfigError(
                    f"structures.{name}: missing; every class needs a window and a rule, e.g. "
                    f"structures.{name}={{window: [40, 400], rule: {{keep: 1}}}} (keep: 1 for a "
                    "heart, 2 for lungs, all for tumours)"
                )
        for name in self.structures:
            if name not in classes:
                raise ConfigError(f"structures.{name}: no such class, {nearest(name, classes)}")

    def filter_of(self, name: FilterName) -> FilterSettings:
        """The settings of one of `filters`."""
        values = {k: getattr(self.filter, k) for k in FilterSettings.__dataclass_fields__}
        return FilterSettings(**values | {"name": name})


def load_itv(path: Path, changes: Sequence[str] = ()) -> ItvConfig:
    """The job that a YAML file and overrides describe."""
    return parse_itv(override(read_yaml(path), changes), str(path))


def parse_itv(values: Mapping[str, Any], where: str) -> ItvConfig:
    """A checked job from plain values.

    Raises:
        ConfigError: unknown key or name, or a value that cannot be.
    """
    return parse(ItvConfig, values, where)
