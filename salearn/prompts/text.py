"""Fixed text prompts of a class: templates filled with its name and its synonyms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from salearn.errors import ConfigError
from salearn.settings import Field, nearest, settings

GAP = "{}"


@settings
class TextSettings:
    """Which texts a class is asked for by; the set is fixed before anything is measured.

    Attributes:
        templates: each holds "{}" once, where the name of the class goes.
        synonyms: further names of a class, by its name in the data set.
        choice: which of them the automated mode uses: the first (chosen a priori), the mean of the
            probabilities of all, or the one that is best on validation cases.
    """

    templates: tuple[str, ...] = Field(default=(GAP,), min_length=1)
    synonyms: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    choice: Literal["first", "mean", "validation"] = "first"

    def __post_init__(self) -> None:
        for template in self.templates:
            if template.count(GAP) != 1:
                raise ConfigError(
                    f"templates: '{template}' must hold {GAP} once, where the name of the class "
                    "goes, e.g. 'an MRI of the {}'"
                )


def class_texts(
    given: TextSettings, classes: Sequence[str], prompts: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """Every text of every class, the one that is chosen a priori first, none twice.

    Args:
        classes: of the data set. prompts: the name that stands for a class, where it is not its own
            (`data.prompts` of a config).

    Raises:
        ConfigError: prompts or synonyms are given for a class that the data set does not have.
    """
    for key, named in (("data.prompts", prompts), ("interactive.text.synonyms", given.synonyms)):
        for name in named:
            if name not in classes:
                raise ConfigError(f"{key}.{name}: no such class, {nearest(name, classes)}")
    found: dict[str, tuple[str, ...]] = {}
    for name in classes:
        names = (prompts.get(name, name), *given.synonyms.get(name, ()))
        texts = [template.replace(GAP, word) for word in names for template in given.templates]
        found[name] = tuple(dict.fromkeys(texts))
    return found
