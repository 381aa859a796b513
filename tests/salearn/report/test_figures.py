import matplotlib.image
import pytest

from salearn.report.aggregate import CurveSettings, curve_table, curves_of
from salearn.report.figures import NARROW, Layout, budget_drawing, budget_figure, svg
from salearn.report.runs import read_runs
from salearn.report.tables import case_table

HOW = CurveSettings(replicates=100, metrics=("dice",))


@pytest.fixture
def table(study):
    found = curve_table(curves_of(case_table(read_runs([study]).runs), HOW), HOW)
    return found[(found["split"] == "test") & (found["stage"] == "student")]


def test_a_figure_is_written_as_png_svg_and_pdf_with_the_same_bytes_each_time(tmp_path, table):
    layout = Layout(lines="strategy", panels="learner")
    first = budget_figure(table, tmp_path / "a.curve", layout)
    again = budget_figure(table, tmp_path / "b.curve", layout)
    assert [path.name for path in first.values()] == ["a.curve.png", "a.curve.svg", "a.curve.pdf"]
    for kind in ("png", "svg", "pdf"):
        assert first[kind].read_bytes() == again[kind].read_bytes()


def test_the_picture_is_wide_enough_and_not_blank(tmp_path, table):
    table = table[table["class"] == "mean"]
    path = budget_figure(table, tmp_path / "c", Layout(lines="learner", panels="strategy"))["png"]
    pixels = matplotlib.image.imread(path)
    assert pixels.shape[1] >= 1000
    assert 0.01 < (pixels[..., :3].min(axis=2) < 0.9).mean() < 0.5


def test_the_budget_axis_is_logarithmic_from_a_ratio_of_eight_on():
    from matplotlib.figure import Figure

    from salearn.report.figure_axes import budget_axis

    for budgets, scale in [((1, 2, 4), "linear"), ((1, 2, 4, 8), "log")]:
        ax = Figure().subplots()
        budget_axis(ax, budgets)
        assert ax.get_xscale() == scale
        assert [tick.get_text() for tick in ax.get_xticklabels()] == [str(b) for b in budgets]


def test_undefined_points_are_a_gap_not_an_error(tmp_path, table):
    table = table.assign(mean=table["mean"].where(table["budget"] != 2), high=float("inf"))
    assert budget_figure(table, tmp_path / "d", Layout(lines="strategy", panels="learner"))


def test_a_narrow_figure_keeps_its_width_and_shares_its_axis(table):
    layout = Layout(lines="strategy", panels="learner", narrow=True, limits=(0.2, 0.9))
    drawing = budget_drawing(table[table["learner"] == "supervised"], layout)
    assert drawing.get_figwidth() == pytest.approx(NARROW)
    assert [ax.get_ylim() for ax in drawing.axes] == [(0.2, 0.9)]
    assert svg(drawing).startswith(b"<?xml")


def test_a_cost_axis_has_a_few_round_numbers(table):
    rows = table.assign(cost=table["budget"] * 4321.0, arm="one", all="")
    layout = Layout(lines="arm", panels="all", axis="cost", axis_name="voxels", narrow=True)
    ax = budget_drawing(rows, layout).axes[0]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["4300", "8600", "13k", "17k"]
