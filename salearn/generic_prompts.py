"""A generic pool of prompts: texts of what the images do not show, asked for as negatives."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from salearn.errors import ConfigError
from salearn.settings import Field, settings

ListName = Literal["things", "head", "chest", "abdomen", "pelvis", "limbs"]

# Names of lists are part of content keys: another list gets another name, these stay as they are.
LISTS = MappingProxyType(
    {
        "things": (
            "bicycle", "bird", "boat", "book", "bottle", "car", "chair", "clock", "dog", "flower",
            "guitar", "house", "shoe", "spoon", "train", "umbrella",
        ),
        "head": (
            "brain", "brainstem", "cerebellum", "eye", "mandible", "optic nerve", "pituitary",
            "skull", "tongue", "tooth",
        ),
        "chest": (
            "aorta", "breast", "clavicle", "esophagus", "heart", "lung", "rib", "sternum",
            "thymus", "trachea",
        ),
        "abdomen": (
            "adrenal gland", "colon", "duodenum", "gallbladder", "kidney", "liver", "pancreas",
            "spleen", "stomach",
        ),
        "pelvis": (
            "femoral head", "ovary", "prostate", "rectum", "sacrum", "urinary bladder", "uterus",
        ),
        "limbs": ("ankle", "femur", "finger", "humerus", "knee", "patella", "tibia", "wrist"),
    }
)  # fmt: skip


@settings
class GenericSettings:
    """Prompts beside those of the classes, each of which has nothing to find in any image.

    Attributes:
        count: of them for each image of a step, drawn anew; 0 = off, 2 to 4 in the source.
        lists: shipped ones. "things" is never in a medical image; regions of the body are for
            images that do not show them.
        texts: own ones, beside the lists.
        exclude: synonyms of the classes, and what else the images show: no text that names one of
            them is asked for, nor one that names a class or its prompt.

    Source: adaptation notes 8.1, prompt tier, and 1.4 (the SAM3_LoRA port); the lists are ours.
    """

    count: int = Field(default=0, ge=0)
    lists: tuple[ListName, ...] = ("things",)
    texts: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """What is left of the pool when the names of a data set are known; its tokens are not yet.

    Attributes:
        texts: all different, the user's own first.
        own: how many of them are the user's own.
        against: prompts of all classes, for the same test on tokens.
        count: of texts for each image.
    """

    texts: tuple[str, ...]
    own: int
    against: tuple[str, ...]
    count: int


def candidates(
    given: GenericSettings, prompts: Sequence[str], names: Iterable[str]
) -> Candidates | None:
    """The pool without what names a class; None where the setting is off.

    Two texts name the same if all words of one are in the other ("kidney" and "left kidney"; case
    and a plural s do not count). A shipped text that does is left out; an own one is refused.

    Args:
        prompts: of all classes of the data set. names: of the classes, as the data set has them.

    Raises:
        ConfigError: an own text names a class, or fewer than `count` texts are left.
    """
    if not given.count:
        return None
    shown = {name: words(name) for name in (*prompts, *names, *given.exclude)}
    for text in given.texts:
        if other := first_alike(words(text), shown):
            raise ConfigError(clash(text, other))
    shipped = (text for name in given.lists for text in LISTS[name])
    kept = (text for text in shipped if not first_alike(words(text), shown))
    texts = tuple(dict.fromkeys((*given.texts, *kept)))
    require_enough(texts, given.count)
    own = len(set(given.texts))
    return Candidates(texts=texts, own=own, against=tuple(prompts), count=given.count)


def words(text: str) -> frozenset[str]:
    """Words of a text, without case and plural s."""
    found = re.findall(r"\w+", text.casefold())
    return frozenset(word.removesuffix("s") if len(word) > 3 else word for word in found)


def first_alike(parts: frozenset[Any], others: Mapping[str, frozenset[Any]]) -> str | None:
    """The first of `others` whose parts hold all of these, or are all held by them."""
    for name, held in others.items():
        if parts and held and (parts <= held or held <= parts):
            return name
    return None


def clash(text: str, other: str) -> str:
    """Why an own text cannot be a negative."""
    return (
        f"mining.generic.texts: '{text}' cannot be told from '{other}', which images show; a "
        "negative prompt must have nothing to find: take it out, or write it in other words"
    )


def require_enough(texts: Sequence[str], count: int) -> None:
    """Check that as many texts are left as an image is asked for.

    Raises:
        ConfigError: there are fewer.
    """
    if len(texts) < count:
        raise ConfigError(
            f"mining.generic: {count} texts are asked for each image, but only {len(texts)} of the "
            "pool are left that name no class: give more in mining.generic.texts or .lists"
        )
