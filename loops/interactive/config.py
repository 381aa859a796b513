"""The settings of an interactive evaluation, beside those of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from loops.config import RunConfig
from loops.sfr.presets import with_preset
from loops.studies.replays import with_order
from salearn.config import override, read_yaml
from salearn.errors import ConfigError
from salearn.models.interactive.tracker_weights import TrackerSettings
from salearn.prompts.clicks import Larger
from salearn.prompts.cost import PromptCost
from salearn.prompts.text import TextSettings
from salearn.settings import Field, parse, settings

Mode = Literal["text", "box", "tracker_box", "points", "clicks"]
MODES: tuple[Mode, ...] = ("text", "box", "tracker_box", "points", "clicks")


@settings
class InteractiveSettings:
    """What is asked of SAM3 on test slices, and of whom.

    Attributes:
        modes: "text" alone; "box": text and boxes through the detector's geometry encoder;
            "tracker_box": boxes, "points": points drawn at once, "clicks": one correction after the
            other, all three through the tracker.
        text: the text prompts of the classes.
        tracker: which tracker.
        adapter: folder of what an arm has trained, for text and boxes; None = zero-shot.
        resolution: input of the detector for single slices, pixels a side; None = that of `sam`.
        jitter: largest outward shifts of the sides of a box, as shares of a side; one row each.
        components: largest parts of an object that get a box or points of their own.
        points: of mode "points".
        dice_at: numbers of clicks that Dice is reported after. noc: Dice values that clicks are
            counted to. max_clicks: most clicks on one object.
        start: what the first click corrects: the answer to the text prompt, or an empty one.
        larger: which error region is clicked on: of more pixels, or deeper.
        cases: most test cases. slices: most slices of a case and class, evenly spread.
        unlabeled: cases of the pool whose predictions become prompts of the tracker; no mask of
            theirs is opened. unlabeled_prompt: what they become.
        labels: cases of the pool that are labeled by clicks of a simulated person; their masks are
            opened as "audit", and the clicks are what the annotation costs.
        label_dice: a simulated person stops clicking on a slice once its Dice is this.
        cost: declared seconds of prompting.
        seed: of jitter and drawn points.
    """

    modes: tuple[Mode, ...] = MODES
    text: TextSettings = TextSettings()
    tracker: TrackerSettings = TrackerSettings()
    adapter: str | None = None
    resolution: int | None = Field(default=None, ge=1)
    jitter: tuple[float, ...] = (0.0, 0.05, 0.1, 0.2)
    components: int = Field(default=3, ge=1)
    points: int = Field(default=5, ge=1)
    dice_at: tuple[int, ...] = (0, 1, 3, 5)
    noc: tuple[float, ...] = (0.8, 0.9)
    max_clicks: int = Field(default=10, ge=1)
    start: Literal["text", "empty"] = "text"
    larger: Larger = "area"
    cases: int | None = Field(default=None, ge=1)
    slices: int | None = Field(default=None, ge=1)
    unlabeled: int = Field(default=0, ge=0)
    unlabeled_prompt: Literal["box", "click"] = "box"
    labels: int = Field(default=0, ge=0)
    label_dice: float = Field(default=0.9, gt=0, le=1)
    cost: PromptCost = PromptCost()
    seed: int = Field(default=0, ge=0)

    def __post_init__(self) -> None:
        if not self.modes or len(set(self.modes)) != len(self.modes):
            raise ConfigError(f"modes: give one or more different modes, not {list(self.modes)}")
        if any(share < 0 for share in self.jitter):
            raise ConfigError(f"jitter: sides only move outward; {list(self.jitter)} has a minus")
        if any(not 0 <= n <= self.max_clicks for n in self.dice_at):
            raise ConfigError(f"dice_at: {list(self.dice_at)}, but max_clicks is {self.max_clicks}")
        if any(not 0 < dice <= 1 for dice in self.noc):
            raise ConfigError(f"noc: {list(self.noc)} are no Dice values above 0")


@settings
class InteractiveConfig(RunConfig):
    """A run's data and SAM3, asked interactively; nothing is trained."""

    interactive: InteractiveSettings = InteractiveSettings()


def load_interactive(path: Path, changes: Sequence[str] = ()) -> InteractiveConfig:
    """From the YAML file of a run (or of a cell) and overrides; a `study` section is left aside."""
    values = override(read_yaml(path), changes)
    values.pop("study", None)
    return parse_interactive(values, str(path))


def parse_interactive(values: Mapping[str, Any], where: str) -> InteractiveConfig:
    """A checked evaluation from plain values.

    Raises:
        ConfigError: unknown key or name, or a value that cannot be.
    """
    return parse(InteractiveConfig, with_order(with_preset(values, where)), where)
