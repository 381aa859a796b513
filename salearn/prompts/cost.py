"""What prompts cost a person, in declared seconds."""

from __future__ import annotations

from collections.abc import Iterable

from salearn.prompts.geometry import Prompt
from salearn.settings import Field, settings


@settings
class PromptCost:
    """Declared seconds of prompting, the counterpart of `CostModel` for drawn masks.

    Attributes:
        per_slice: looking at an answer on a slice, whether it is corrected or not.
        per_box, per_click: making or correcting one.

    The defaults are a convention of this project, not a measurement.
    """

    per_slice: float = Field(default=2.0, ge=0)
    per_box: float = Field(default=7.0, ge=0)
    per_click: float = Field(default=3.0, ge=0)

    def seconds(self, slices: int, boxes: int, clicks: int) -> float:
        """Seconds for so many slices looked at, boxes and clicks."""
        return self.per_slice * slices + self.per_box * boxes + self.per_click * clicks

    def of(self, prompts: Iterable[Prompt], slices: int) -> dict[str, float]:
        """{"slices", "boxes", "clicks", "seconds"} of all prompts of a case."""
        made = list(prompts)
        boxes, clicks = sum(len(p.boxes) for p in made), sum(len(p.clicks) for p in made)
        seconds = self.seconds(slices, boxes, clicks)
        return {"slices": slices, "boxes": boxes, "clicks": clicks, "seconds": seconds}
