"""Dice@n, clicks needed and the columns of the table, with a model that obeys every click."""

import numpy as np
import pytest
from scipy import ndimage

from loops.interactive.config import InteractiveSettings
from loops.interactive.dialogue import talk
from loops.interactive.modes import Scene, outcomes, rows_of_case
from loops.interactive.objects import Target, targets_of
from loops.interactive.table import COLUMNS, as_csv, clicks_needed, summarise
from salearn.cases import CaseId
from salearn.errors import ConfigError
from salearn.prompts.door import AUTOMATED, ORACLE, Reference
from salearn.prompts.geometry import Click, Prompt
from salearn.settings import parse


class Obedient:
    """Knows the slice: every positive click adds the part it lies in, every negative one takes the
    patch of its last answer away; a box adds everything inside it."""

    def __init__(self, truth: np.ndarray, start: np.ndarray | None = None) -> None:
        self.parts, _ = ndimage.label(truth)
        self.start = np.zeros(truth.shape, bool) if start is None else start

    def segment(self, prompt: Prompt, previous: np.ndarray | None = None) -> np.ndarray:
        answer = self.start.copy() if previous is None else previous > 0
        for box in prompt.boxes:
            rows = slice(int(np.floor(box.top)), int(np.ceil(box.bottom)))
            answer[rows, int(np.floor(box.left)) : int(np.ceil(box.right))] = True
        for click in prompt.clicks:
            if click.positive:
                answer |= self.parts == self.parts[click.row, click.column]
            else:
                patches, _ = ndimage.label(answer & (self.parts == 0))
                if patches[click.row, click.column]:
                    answer &= patches != patches[click.row, click.column]
        return np.where(answer, 1.0, -1.0).astype(np.float32)


def truth() -> np.ndarray:
    """Parts of 50, 30 and 20 pixels."""
    mask = np.zeros((20, 20), bool)
    mask[0:5, 0:10] = mask[8:11, 0:10] = mask[14:16, 0:10] = True
    return mask


def test_dice_after_each_click_by_hand() -> None:
    known = np.ones((20, 20), bool)
    done = talk(Obedient(truth()), 1, truth(), known, None, most=10, stop=2.0)
    # Nothing: 0. 50 of 100: 2*50/150 = 2/3. 80: 160/180 = 8/9. All: 1, and then nothing is wrong.
    assert [c.dice for c in done.curve.counts] == pytest.approx([0, 2 / 3, 8 / 9, 1])
    assert [click.positive for click in done.clicks] == [True] * 3
    assert [done.curve.after(n).dice for n in (0, 1, 3, 5)] == pytest.approx([0, 2 / 3, 1, 1])
    assert (done.curve.clicks_to(0.8), done.curve.clicks_to(0.9)) == (2, 3)


def test_a_wrong_start_is_taken_away_by_a_negative_click() -> None:
    start = np.full((20, 20), -1.0, np.float32)
    start[0:8, 12:20] = 1  # 64 pixels that are too much: more than the 50 of any part, not than 100
    start[0:5, 0:10] = 1  # and the first part: 50 are missed, 64 too much
    known = np.ones((20, 20), bool)
    done = talk(Obedient(truth()), 1, truth(), known, start, most=10, stop=2.0)
    assert [click.positive for click in done.clicks] == [False, True, True]
    # 2*50/(114 + 100), then 100/150, 160/180, 1.
    assert [c.dice for c in done.curve.counts] == pytest.approx([100 / 214, 2 / 3, 8 / 9, 1])


def test_a_person_stops_at_a_dice_or_a_number_of_clicks() -> None:
    known = np.ones((20, 20), bool)
    assert len(talk(Obedient(truth()), 1, truth(), known, None, 10, 0.85).clicks) == 2
    assert len(talk(Obedient(truth()), 1, truth(), known, None, 1, 2.0).clicks) == 1


def scene(start: np.ndarray | None = None) -> Scene:
    known = np.ones((20, 20), bool)
    view = Obedient(truth(), start)
    return Scene(Target(1, 7), truth(), known, view, Obedient(truth()), (0, 0, 1, 7))


def found(**changes: object) -> dict[tuple[str, str], float]:
    given = parse(InteractiveSettings, changes, "interactive")
    rows = rows_of_case(list(outcomes(scene(), given)), "a", ["liver"])
    return {(row["mode"], row["setting"]): row["dice"] for row in rows}


def test_every_mode_gives_its_rows_and_jitter_costs_dice() -> None:
    dice = found(jitter=[0, 0.1, 0.2], max_clicks=5)
    assert dice["text", "no prompt on the slice"] == 0
    assert dice["box", "jitter 0"] == dice["tracker_box", "jitter 0"] == 1  # parts are rectangles
    assert 1 > dice["box", "jitter 0.1"] >= dice["box", "jitter 0.2"]
    assert dice["points", "5 points"] == 1
    names = [f"{n} clicks" for n in (0, 1, 3, 5)]
    assert [dice["clicks", n] for n in names] == pytest.approx([0, 2 / 3, 1, 1])


def test_points_are_judged_on_the_parts_they_lie_in() -> None:
    # One point: the largest part alone is asked for, and all of it comes.
    assert found(modes=["points"], points=1) == {("points", "1 points"): 1.0}


def test_the_table_never_puts_oracle_prompts_beside_automated_ones() -> None:
    given = InteractiveSettings()
    rows = rows_of_case(list(outcomes(scene(), given)), "a", ["liver"])
    table = summarise(rows, ["liver"])
    for row in table:
        assert (row["automated_dice"] is None) != (row["oracle_dice"] is None)
        automated = row["mode"] == "text" or row["setting"] == "0 clicks"
        assert row["column"] == (AUTOMATED if automated else ORACLE)
    assert "never ranked" in ORACLE
    lines = as_csv(table).splitlines()
    assert lines[0].split(",") == list(COLUMNS)
    assert len(lines) == 1 + len(table)


def test_clicks_needed_of_classes_and_of_all() -> None:
    known = np.ones((20, 20), bool)
    curve = talk(Obedient(truth()), 1, truth(), known, None, 10, 2.0).curve
    given = InteractiveSettings(noc=(0.9,), max_clicks=10)
    rows = clicks_needed({"liver": [curve, curve], "spleen": []}, given)
    assert [(r["class"], r["objects"]) for r in rows] == [("liver", 2), ("spleen", 0), ("all", 2)]
    assert rows[0]["noc"] == 3
    assert rows[0]["failed"] == 0
    assert clicks_needed({"liver": []}, given) == []  # modes without clicks


def test_targets_are_the_slices_that_show_a_class_evenly_spread() -> None:
    mask = np.zeros((4, 9, 4), np.uint8)
    mask[1, 2:9, 1], mask[2, 4, 2] = 1, 2
    reference = Reference(CaseId("a"), mask)
    assert targets_of(reference, 2, 1, None) == [*(Target(1, i) for i in range(2, 9)), Target(2, 4)]
    assert targets_of(reference, 2, 1, 3) == [Target(1, 2), Target(1, 5), Target(1, 8),
                                              Target(2, 4)]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"modes": []}, "modes"), ({"jitter": [-0.1]}, "only move outward"),
        ({"dice_at": [0, 30]}, "max_clicks is 10"), ({"noc": [0.0]}, "noc"),
        ({"tracker": {"weigths": "tiny"}}, "did you mean 'weights'"),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(InteractiveSettings, values, "interactive")


def test_a_click_is_a_pixel() -> None:
    assert Click(1, 2) == Click(row=1, column=2, positive=True)
