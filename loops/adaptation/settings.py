"""How arms of SAM3 are compared: the section `adaptation` of a run with learner "sam"."""

from __future__ import annotations

from typing import Any, Literal

from salearn.data.source import DataSource
from salearn.errors import ConfigError
from salearn.models.arms.registry import Arm
from salearn.settings import Field, settings


@settings
class AdaptationSettings:
    """What belongs to a comparison of arms; read by learner "sam" alone.

    Attributes:
        choose_rate: "off" = every arm trains with `finetune.learning_rate`. "first" = in the first
            round each rate of the arm's grid is trained for as many steps, the one with the best
            mean Dice on the validation cases is taken and kept; "every" = in every round anew.
        rates: grids by name of the arm, e.g. {full: [1e-4, 4e-4], lora: [1e-3, 4e-3]}; an arm that
            is not named here has its own (for SAM3 of real size). All are of one size: an arm with
            more tries would be favoured.
        external: a data set of another place; tested on, beside the internal test cases, and
            used for nothing else. Its classes are those of the data set.
        operating: keep Dice at every threshold, and say what the threshold costs.

    Source: fairness rules 3.6, decomposition 4 and protocol 9 of the adaptation notes
    (reconstruction).
    """

    choose_rate: Literal["off", "first", "every"] = "off"
    rates: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    external: DataSource = DataSource()
    operating: bool = True

    def __post_init__(self) -> None:
        sizes = {name: len(set(grid)) for name, grid in self.rates.items()}
        if len(set(sizes.values())) > 1 or 0 in sizes.values():
            raise ConfigError(
                f"adaptation.rates: grids of {sizes} rates; give every arm equally many"
            )
        if any(rate <= 0 for grid in self.rates.values() for rate in grid):
            raise ConfigError("adaptation.rates: a learning rate must be above 0")

    def grid(self, name: str, arm: Arm) -> tuple[float, ...]:
        """The rates that an arm tries, rising.

        Raises:
            ConfigError: the arm's own grid is not as large as those that are given.
        """
        grid = self.rates.get(name, arm.RATES)
        size = len(next(iter(self.rates.values()), grid))
        if len(grid) != size:
            raise ConfigError(
                f"adaptation.rates: arm '{name}' would try its own {len(grid)} rates and others "
                f"{size}; add adaptation.rates.{name} with {size} rates"
            )
        return tuple(sorted(grid))


def arm_label(arm: dict[str, Any]) -> str:
    """Name of an arm with the settings that a config gave it: "lora(rank=16)"."""
    rest = [f"{key}={value}" for key, value in arm.items() if key != "name"]
    return f"{arm['name']}({', '.join(rest)})" if rest else str(arm["name"])
