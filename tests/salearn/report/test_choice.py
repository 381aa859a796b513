"""Selection diagnostics by hand, overlaps against brute force, guards that find what is wrong."""

import itertools
import json
import math

import numpy as np
import pytest

from salearn.report.aggregate import CurveSettings
from salearn.report.embedded import embedded, plane
from salearn.report.guards import findings
from salearn.report.overlaps import chance_jaccard, overlap_table
from salearn.report.picks import pick_table
from salearn.report.runs import read_runs
from salearn.report.summary import write_report

HOW = CurveSettings(replicates=100)


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def finish(folder, store, picks, vectors):
    """Give a synthetic run these picks, embeddings in a store, and a query log."""
    rounds = [json.loads(text) for text in (folder / "rounds.jsonl").read_text().splitlines()]
    left = sorted(vectors)
    paid = []
    for record, chosen in zip(rounds, picks, strict=True):
        record["selected"], record["scores"] = chosen, dict.fromkeys(left, 0.5)
        left = [unit for unit in left if unit not in chosen]
        for unit in chosen:
            paid.append({"purpose": "annotate", "round": record["round"], "unit": unit,
                         "slices": 2, "voxels": 40, "seconds": 70.0,
                         "classes": {"1": 30, "2": 10}})  # fmt: skip
    lines(folder / "rounds.jsonl", rounds)
    lines(folder / "queries.jsonl", paid)
    for unit, vector in vectors.items():
        path = store / unit / "vectors.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.stack([vector, vector]).astype(np.float16))
    keys = {unit: unit for unit in vectors}
    pointer = {"store": str(store), "axis": 2, "keys": keys}
    (folder / "embeddings.json").write_text(json.dumps(pointer))


def turned(degrees):
    angle = math.radians(degrees)
    return np.array([math.cos(angle), math.sin(angle), 0.0])


# Four units on a circle, close by twos, and one far away from all.
POOL = {"a": turned(0), "b": turned(5), "c": turned(90), "d": turned(95), "e": turned(200)}


@pytest.fixture
def runs(tmp_path, make_run):
    for name, picks in (
        ("random", [["a"], ["b"], ["e", "c"]]),
        ("hybrid", [["a"], ["c"], ["b", "d"]]),
    ):
        folder = make_run(tmp_path / name, name, budget=(1, 2, 4))
        finish(folder, tmp_path / "store", picks, POOL)
    return read_runs([tmp_path]).runs


def value(table, strategy, labeled, name):
    rows = table[(table["strategy"] == strategy) & (table["num_labeled"] == labeled)]
    return float(rows.loc[rows["diagnostic"] == name, "value"].iloc[0])


def test_diagnostics_by_hand(runs):
    table = pick_table(runs)
    # k is capped at 4; the fourth neighbour of a, b, c, d is e or across, so delta is negative:
    # everything is covered by one unit within that cosine except who lies farther
    z = np.stack([v for _, v in sorted(POOL.items())])
    cosine = z @ z.T
    delta = np.median(np.sort(cosine, axis=1)[:, 0])
    for labeled, chosen in ((1, [0]), (2, [0, 1])):
        covered = (cosine[:, chosen].max(axis=1) >= delta - 1e-6).mean()
        assert value(table, "random", labeled, "coverage") == pytest.approx(covered)
    # random: b is 5 degrees from a, cos = 0.996 > 0.98: one of two, one of four
    assert value(table, "random", 2, "near duplicates") == 0.5
    assert value(table, "random", 4, "near duplicates") == 0.25
    assert value(table, "hybrid", 2, "redundancy") == pytest.approx(0.0, abs=1e-3)
    # e is the least typical of five: rank 0 < 0.05
    assert value(table, "random", 4, "outliers") == 0.25
    assert value(table, "hybrid", 4, "outliers") == 0.0
    # 30 and 10 voxels of two classes: H(3/4, 1/4) / log 2 = 0.8113
    assert value(table, "random", 1, "class balance") == pytest.approx(0.8113, abs=1e-4)
    assert value(table, "random", 4, "seconds per unit") == 70.0
    assert value(table, "random", 4, "patients") == value(table, "random", 4, "foreground") == 1.0


def test_overlap_is_the_jaccard_index_at_every_budget(runs):
    table = overlap_table(runs).set_index("budget")
    assert table.loc[1, "jaccard"] == 1.0  # {a} and {a}
    assert table.loc[2, "jaccard"] == pytest.approx(1 / 3)  # {a, b} and {a, c}
    assert table.loc[4, "jaccard"] == pytest.approx(3 / 5)  # {a, b, c, e} and {a, b, c, d}


@pytest.mark.parametrize(("a", "b", "units"), [(1, 1, 4), (2, 2, 5), (2, 3, 5), (5, 5, 5)])
def test_chance_is_the_mean_over_all_pairs_of_sets(a, b, units):
    found = [
        len(set(x) & set(y)) / len(set(x) | set(y))
        for x in itertools.combinations(range(units), a)
        for y in itertools.combinations(range(units), b)
    ]
    assert chance_jaccard(a, b, units) == pytest.approx(np.mean(found))


def test_the_plane_is_that_of_scikit_learn_up_to_a_fixed_sign():
    from sklearn.decomposition import PCA

    z = np.random.default_rng(0).normal(size=(40, 6)) * [5, 3, 1, 1, 1, 1]
    places, shares = plane(z)
    other = PCA(2).fit(z)
    assert np.abs(places) == pytest.approx(np.abs(other.transform(z)))
    assert shares == pytest.approx(other.explained_variance_ratio_)
    again, _ = plane(z[::-1].copy())
    assert again[::-1] == pytest.approx(places)


def test_without_embeddings_the_rest_is_still_told(tmp_path, make_run):
    make_run(tmp_path / "a", budget=(1, 2))
    run = read_runs([tmp_path]).runs[0]
    assert embedded(run) is None
    assert set(pick_table([run])["diagnostic"]) == {"patients"}


@pytest.mark.slow
def test_the_report_shows_table_overlap_and_one_map_an_arm(runs, tmp_path):
    folder = runs[0].path.parent
    result = write_report([folder], tmp_path / "out", HOW)
    text = (tmp_path / "out" / "report.html").read_text()
    assert text.count("Map of the pool with the choices of") == 2
    assert "Overlap of choices" in text
    assert {"selection_hippo_volume.csv", "overlap_hippo_volume.csv"} <= set(result["paths"])
    for words in ("### Area under the budget curve", "### Win matrix", "### Cost at the last"):
        assert words in result["summary"] or words == "### Win matrix"


def level(found, guard):
    return {one.level for one in found if one.guard == guard}


def test_guards_pass_a_sound_run_and_say_what_the_design_lacks(runs):
    found = findings(runs)
    for guard in ("no unit twice", "batch size", "scores", "query log"):
        assert level(found, guard) == {"ok"}, guard
    words = [one.words for one in found if one.guard == "design"]
    assert any("longer training" in line for line in words)
    assert any("query size" in line for line in words)
    assert not any("no random arm" in line for line in words)


@pytest.mark.parametrize(
    ("guard", "change"),
    [
        ("no unit twice", lambda rounds: rounds[1].update(selected=["a"])),
        ("batch size", lambda rounds: rounds[2].update(selected=["c"])),
        ("scores", lambda rounds: rounds[1]["scores"].update(b=None)),
        ("query log", lambda rounds: rounds[1].update(selected=["d"])),
    ],
)
def test_a_guard_finds_a_log_that_was_tampered_with(runs, guard, change):
    folder = next(run.path for run in runs if run.factors["strategy"] == "random")
    rounds = [json.loads(text) for text in (folder / "rounds.jsonl").read_text().splitlines()]
    change(rounds)
    lines(folder / "rounds.jsonl", rounds)
    found = findings(read_runs([folder]).runs)
    assert level(found, guard) == {"error"}
    assert found[0].level == "error"


def test_a_round_may_end_early_where_seconds_bound_it(runs):
    folder = next(run.path for run in runs if run.factors["strategy"] == "random")
    rounds = [json.loads(text) for text in (folder / "rounds.jsonl").read_text().splitlines()]
    rounds[2]["selected"] = ["c"]
    lines(folder / "rounds.jsonl", rounds)
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config + "strategy: {limits: {seconds: 9}}\n")
    assert level(findings(read_runs([folder]).runs), "batch size") == {"warning"}


def test_start_sets_that_differ_within_a_draw_seed_are_an_error(tmp_path, make_run):
    for name, picks in (("random", [["a"], ["b"]]), ("hybrid", [["c"], ["b"]])):
        folder = make_run(
            tmp_path / name, name, budget=(1, 2), config="start: {units: 1, strategy: random}\n"
        )
        finish(folder, tmp_path / "store", picks, POOL)
    runs = read_runs([tmp_path]).runs
    assert level(findings(runs), "shared start") == {"error"}
