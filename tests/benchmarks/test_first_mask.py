"""The first-mask study: variance components by hand, places among all masks, the page."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import first_mask, first_mask_page, first_mask_places
from benchmarks.first_mask import Results, read_results, spread_of
from benchmarks.first_mask_places import place_of, places_of


def results(singles, repeats=()):
    found = Results()
    for name, value in singles.items():
        found.dice[(name,)][0] = value
    for name, seed, value in repeats:
        found.dice[(name,)][seed] = value
    return found


def test_components_of_variance_by_hand():
    # first seeds 0.5, 0.7, 0.9: variance 0.04. Repeats: a 0.5, 0.7 (variance 0.02) and
    # b 0.7, 0.7 (0): within^2 = (0.02 + 0) / 2 = 0.01; between^2 = 0.04 - 0.01
    found = results({"a": 0.5, "b": 0.7, "c": 0.9}, [("a", 1, 0.7), ("b", 1, 0.7)])
    spread = spread_of(found.dice, 1)
    assert spread.within == pytest.approx(0.1)
    assert spread.between == pytest.approx(np.sqrt(0.03))
    assert spread.reliability == pytest.approx(0.75)
    # the best, 0.9, is brought back towards the mean 0.7: 0.7 + 0.75 * 0.2
    assert spread.believed == pytest.approx(0.85)


def test_pairs_that_nobody_repeated_borrow_the_noise_of_single_volumes():
    found = results({"a": 0.5, "b": 0.7}, [("a", 1, 0.7), ("b", 1, 0.7)])
    for units, value in {("a", "b"): 0.7, ("a", "c"): 0.9, ("b", "c"): 0.5}.items():
        found.dice[units][0] = value
    pairs = spread_of(found.dice, 2)
    assert pairs.lent
    assert pairs.within == pytest.approx(0.1)
    assert pairs.between == pytest.approx(np.sqrt(0.03))
    assert not spread_of(found.dice, 1).lent


def test_components_come_back_from_a_simulation():
    rng = np.random.default_rng(0)
    found = Results()
    for k, level in enumerate(rng.normal(0.7, 0.08, 400)):
        for seed in range(4 if k < 100 else 1):
            found.dice[(f"v{k}",)][seed] = level + rng.normal(0, 0.03)
    spread = spread_of(found.dice, 1)
    assert spread.between == pytest.approx(0.08, rel=0.1)
    assert spread.within == pytest.approx(0.03, rel=0.1)


def test_the_place_of_picks_among_all_masks():
    values = {
        (name,): value for name, value in zip("abcde", (0.5, 0.6, 0.7, 0.8, 0.9), strict=True)
    }
    spread = spread_of({units: {0: value} for units, value in values.items()}, 1)
    place = place_of("x", [("d",), ("b",), ("zz",)], values, spread)
    assert (place.known, place.draws, place.distinct) == (2, 3, 3)
    assert place.dice == pytest.approx(0.7)
    assert place.percentile == pytest.approx((0.8 + 0.4) / 2)  # 4 and 2 of 5 are not better
    assert place.gain == pytest.approx(0.0)
    best = place_of("y", [("e",)], values, spread)
    assert best.share == pytest.approx(1.0)  # without repeats the best is believed
    assert np.isnan(place_of("z", [("q",)], values, spread).dice)


def test_strategies_that_start_as_random_are_marked():
    found = results({"a": 0.5, "b": 0.7, "c": 0.9})
    picks = {"random": {1: [("a",)]}, "entropy": {1: [("a",)]}, "medoid": {1: [("c",)]}}
    places = {place.name: place for place in places_of(picks, found, 1)}
    assert places["entropy"].like_random
    assert not places["random"].like_random
    assert next(iter(places)) == "medoid"
    text = first_mask_page._table(list(places.values()))
    assert "own picks, for want of a cold start: entropy." in text
    assert "| entropy |" not in text


def test_cells_that_are_not_finished_are_left_out(tmp_path):
    metric = {"split": "test", "stage": "student", "class": "mean", "dice": 0.75}
    for name, rounds in (("one", 1), ("none", 0)):
        cell = tmp_path / "cells" / name
        cell.mkdir(parents=True)
        (cell / "run.json").write_text(json.dumps({"factors": {"train_seed": 2}}))
        line = {"selected": ["v2", "v1"], "metrics": [metric | {"stage": "teacher"}, metric]}
        (cell / "rounds.jsonl").write_text((json.dumps(line) + "\n") * rounds)
    assert dict(read_results(tmp_path).dice) == {("v1", "v2"): {2: 0.75}}


def test_the_page_is_rewritten_between_its_markers_only(tmp_path, monkeypatch):
    monkeypatch.setattr(first_mask_page, "_features", lambda *_: "features")
    found = results({f"v{k}": 0.5 + 0.04 * k for k in range(10)})
    picks = {"random": {1: [("v1",)], 2: []}, "medoid": {1: [("v9",)], 2: []}}
    page = tmp_path / "first_mask.md"
    page.write_text(f"above\n\n{first_mask.BEGIN}\nstale\n{first_mask.END}\n\nbelow\n")
    for _ in range(2):
        first_mask_page.write_page(found, picks, None, tmp_path)
    text = page.read_text()
    assert text.startswith("above\n")
    assert text.endswith("below\n")
    assert "stale" not in text
    assert text.count(first_mask.BEGIN) == text.count("| medoid |") == 1
    assert (tmp_path / "figures" / "first_mask.png").stat().st_size > 0


def test_evidence_is_read_once_for_all_strategies():
    class Counting:
        round, asked = 0, 0

        def embeddings(self, units, adapted=False):
            self.asked += 1
            return np.ones((len(units), 3))

    counting = Counting()
    remembered = first_mask_places.Remembered(counting)
    assert remembered.embeddings(["a", "b"]).shape == (2, 3)
    remembered.embeddings(["b", "a"])
    assert counting.asked == 2
    assert remembered.round == 0


def test_a_single_result_has_no_spread():
    spread = spread_of(results({"a": 0.5}).dice, 1)
    assert (spread.count, spread.between) == (1, 0.0)
    assert spread.believed == 0.5
    assert replace(spread, within=0.1).reliability == 0.0
