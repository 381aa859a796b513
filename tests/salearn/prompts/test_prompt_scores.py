"""Dice@n, NoC, costs and texts, by hand."""

import math

import numpy as np
import pytest

from salearn.errors import ConfigError
from salearn.metrics.overlap import Counts
from salearn.prompts.cost import PromptCost
from salearn.prompts.geometry import Box, Click, Prompt
from salearn.prompts.scores import ClickCurve, number_of_clicks, plane_counts
from salearn.prompts.text import TextSettings, class_texts
from salearn.settings import parse


def counts(dice: float) -> Counts:
    """2 TP / (2 TP + FP + FN) with TP = 100 d, FP + FN = 200 (1 - d)."""
    return Counts(tp=round(100 * dice), fp=round(200 * (1 - dice)), fn=0, tn=0)


def test_dice_after_the_last_click_stays_what_it_was() -> None:
    curve = ClickCurve((counts(0.2), counts(0.7), counts(0.9)))
    assert [curve.after(n).dice for n in (0, 1, 3, 5)] == pytest.approx([0.2, 0.7, 0.9, 0.9])


def test_clicks_needed_by_hand() -> None:
    slow = ClickCurve((counts(0.2), counts(0.7), counts(0.9)))
    never = ClickCurve((counts(0.1), counts(0.5)))
    at_once = ClickCurve((counts(0.85),))
    # 0.8: 2, never (counts as 10), 0 clicks: mean 4; one of three fails.
    found = number_of_clicks([slow, never, at_once], 0.8, 10)
    assert found == {"noc": pytest.approx(4.0), "failed": pytest.approx(1 / 3)}
    assert slow.clicks_to(0.95) is None
    assert math.isnan(number_of_clicks([], 0.8, 10)["noc"])


def test_counts_of_a_slice_leave_out_what_is_unknown() -> None:
    answer = np.array([[True, True, False, True]])
    reference = np.array([[True, False, True, False]])
    known = np.array([[True, True, True, False]])
    assert plane_counts(answer, reference, known) == Counts(tp=1, fp=1, fn=1, tn=0)


def test_boxes_and_clicks_cost_what_was_declared() -> None:
    prompts = [
        Prompt(label=1, boxes=(Box(0, 0, 1, 1),)),
        Prompt(label=2, clicks=(Click(0, 0), Click(1, 1, positive=False))),
    ]
    # 3 slices * 2 s + 1 box * 7 s + 2 clicks * 3 s = 19 s
    cost = PromptCost(per_slice=2, per_box=7, per_click=3).of(prompts, 3)
    assert cost == {"slices": 3, "boxes": 1, "clicks": 2, "seconds": 19.0}


def test_templates_meet_names_and_synonyms_and_the_first_is_chosen_a_priori() -> None:
    given = TextSettings(templates=("{}", "an MRI of the {}"), synonyms={"liver": ("hepar",)})
    found = class_texts(given, ["liver", "spleen"], {"spleen": "the spleen"})
    assert found["liver"] == ("liver", "an MRI of the liver", "hepar", "an MRI of the hepar")
    assert found["spleen"] == ("the spleen", "an MRI of the the spleen")


def test_a_prompt_for_an_unknown_class_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"data\.prompts\.livr: .*did you mean 'liver'"):
        class_texts(TextSettings(), ["liver"], {"livr": "liver"})
    with pytest.raises(ConfigError, match=r"synonyms\.kidney"):
        class_texts(TextSettings(synonyms={"kidney": ("ren",)}), ["liver"], {})


@pytest.mark.parametrize("template", ["liver", "{} and {}"])
def test_a_template_has_one_gap(template: str) -> None:
    with pytest.raises(ConfigError, match="once"):
        parse(TextSettings, {"templates": [template]}, "text")
