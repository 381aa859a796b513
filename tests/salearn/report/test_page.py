"""The HTML page: one file that loads nothing, with every section, the same each time."""

import base64
import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from salearn.report.aggregate import CurveSettings
from salearn.report.blocks import Section, Table, Text
from salearn.report.latex import escape, latex
from salearn.report.page import render_page
from salearn.report.summary import write_report

HOW = CurveSettings(replicates=100)
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PARTS = ("curves", "differences", "forest", "wins", "areas", "beyond", "classes", "stages",
         "pseudo", "gap", "auc", "choice", "chosen", "worst", "guards")  # fmt: skip


class Reader(HTMLParser):
    """Collects tags with attributes, and refuses a page whose tags do not close."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self):
        super().__init__()
        self.tags, self._open = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def close(self):
        super().close()
        assert not self._open


def read(text):
    reader = Reader()
    reader.feed(text)
    reader.close()
    return reader.tags


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The report of a small study in which one run left pictures and pseudo-labels."""
    import sys

    write_run = sys.modules["tests.salearn.report.conftest"].write_run
    root = tmp_path_factory.mktemp("page") / "study"
    for strategy in ("random", "hybrid"):
        for seed in (0, 1):
            write_run(root / "cells" / f"{strategy}{seed}", strategy, "sfr_mean_teacher", seed)
    folder = root / "cells" / "hybrid0"
    for name in ("round_000/selected_pool_1", "round_002/worst_test_03", "round_002/worst_test_01"):
        path = folder / "panels" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PIXEL)
    lines = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    pseudo = {"num_cases": 20, "num_believed": 15, "confidence_mean": 0.75, "confidence_min": 0.5}
    lines[0]["pseudo"] = pseudo
    (folder / "rounds.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = write_report([root], root / "report", HOW)
    return result["paths"], (root / "report" / "report.html").read_text()


def test_the_page_loads_nothing(written):
    _, text = written
    assert not re.search(r"https?://|url\(|@import|<script|<link|<iframe|<object", text)
    sources = [attrs["src"] for tag, attrs in read(text) if tag == "img"]
    assert len(sources) >= 10
    for source in sources:
        assert source.startswith(("data:image/svg+xml;base64,", "data:image/png;base64,"))
        if "svg" in source[:20]:
            drawing = base64.b64decode(source.split(",")[1]).decode()
            assert not re.search(r'href="(?!#)', drawing)


def test_every_section_is_there_once_and_in_the_contents(written):
    tags = read(written[1])
    ids = [attrs["id"] for tag, attrs in tags if tag == "section"]
    expected = [f"{name}-hippo-volume" for name in PARTS]
    assert ids == ["compared", "warnings", *expected, "cells", "provenance", "files"]
    links = [attrs["href"] for tag, attrs in tags if tag == "a"]
    assert links == [f"#{name}" for name in ids]
    every = [attrs["id"] for _, attrs in tags if "id" in attrs]
    assert len(every) == len(set(every))


def test_headings_follow_each_other_and_every_picture_has_words(written):
    tags = read(written[1])
    levels = [int(tag[1]) for tag, _ in tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    assert all(attrs["alt"] for tag, attrs in tags if tag == "img")
    head = dict(next(attrs for tag, attrs in tags if attrs.get("name") == "viewport"))
    assert head["content"].startswith("width=device-width")


def test_every_wide_table_has_a_box_of_its_own(written):
    tags = [(tag, attrs.get("class")) for tag, attrs in read(written[1])]
    tables = [k for k, (tag, _) in enumerate(tags) if tag == "table"]
    assert len(tables) >= 12
    assert all(tags[k - 1] == ("div", "scroll") for k in tables)
    assert "@media print" in written[1]


def test_pictures_of_runs_are_shown_worst_first(written):
    text = written[1]
    assert "round 0: pool_1" in text
    found = re.findall(r"test_0\d, Dice (0\.\d+)", text)
    assert len(found) == 2
    assert found == sorted(found)
    assert "15 / 20" in text


@pytest.mark.slow
def test_runs_without_pictures_say_so(tmp_path, make_run):
    make_run(tmp_path / "a", budget=(1, 2))
    write_report([tmp_path], tmp_path / "out", HOW)
    text = (tmp_path / "out" / "report.html").read_text()
    assert text.count("No pictures: these runs were made without them") == 2
    assert "No run made pseudo-labels." in text
    assert "No curve has 4 finished budgets" in text
    assert "No win matrix" in text


def test_a_page_without_any_finished_round_is_written(tmp_path, make_run):
    make_run(tmp_path / "a", done=0)
    write_report([tmp_path], tmp_path / "out", HOW)
    text = (tmp_path / "out" / "report.html").read_text()
    assert "1 of 1 cells are unfinished" in text


def test_every_table_of_a_data_set_is_written_as_latex(written):
    paths, _ = written
    tables = {name for name in paths if name.startswith("tables/")}
    assert "tables/forest_hippo_volume.tex" in tables
    assert "tables/curve_dice_hippo_volume.tex" in tables
    text = paths["tables/curve_dice_hippo_volume.tex"].read_text()
    assert r"random & sfr\_mean\_teacher & 0." in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    for name in ("forest_hippo_volume.csv", "figures/forest_hippo_volume.pdf"):
        assert paths[name].stat().st_size > 0


def test_no_letter_of_a_cell_is_a_latex_command():
    assert escape(r"a_b & 5 % \x {y}") == r"a\_b \& 5 \% \textbackslash{}x \{y\}"
    table = Table(name="a_b", caption="c", headers=["x", "1"], rows=[["≤1", "2"]])
    text = latex(table)
    assert r"\begin{tabular}{lr}" in text
    assert r"$\leq$1 & 2 \\" in text
    assert r"\label{tab:a-b}" in text


def test_names_cannot_break_out_of_the_page():
    block = Text(paragraphs=("<script>alert(1)</script>",), items=('"&',))
    text = render_page([Section(id="a", title="<b>", blocks=[block])])
    assert "<script" not in text
    assert "&lt;b&gt;" in text
    read(text)
