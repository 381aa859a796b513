"""Table and figure of the first-mask study, written into docs/first_mask.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.common import between
from benchmarks.first_mask import BEGIN, END, Results, Spread, Units, spread_of
from benchmarks.first_mask_places import Place, places_of
from salearn.report.text import markdown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Picks = Mapping[str, Mapping[int, list[Units]]]
WORDS = {1: "single volumes", 2: "pairs"}


def write_page(results: Results, picks: Picks, bench: Any, docs: Path) -> None:
    """Replace what stands between the markers of docs/first_mask.md; write the figure beside."""
    from salearn.report.figures import save

    places = {size: places_of(picks, results, size) for size in WORDS if results.of_size(size)}
    blocks = [_spreads(results, list(places))]
    blocks += ["![first masks](figures/first_mask.png)"] if places else []
    for size, found in places.items():
        blocks += [f"### Cold starts among {WORDS[size]}", _table(found)]
    if places:
        blocks += ["### What goes with a good first mask", _features(results, bench)]
        save(drawing(results, picks, places), docs / "figures" / "first_mask")
    path = docs / "first_mask.md"
    between(path, BEGIN, END, blocks, new=f"# First masks\n\n{BEGIN}\n{END}\n")
    print("\n\n".join(blocks))


def _spreads(results: Results, sizes: Sequence[int]) -> str:
    rows = []
    for size in sizes:
        found = spread_of(results.dice, size)
        low, five, lower, middle, upper, top, high = (f"{q:.3f}" for q in found.quantiles)
        rows.append([
            f"{found.count} {WORDS[size]}", low, five, lower, middle, upper, top, high,
            _number(found.typical), _number(found.between),
            _number(found.within) + (" (lent)" if found.lent else ""),
            _number(found.reliability), _number(found.believed),
        ])  # fmt: skip
    headers = ["first mask", "min", "5 %", "25 %", "median", "75 %", "95 %", "max", "mean",
               "SD between", "SD of training", "reliability", "best, believed"]  # fmt: skip
    return markdown(headers, rows)


def _number(value: float, sign: bool = False) -> str:
    return "-" if np.isnan(value) else f"{value:{'+' if sign else ''}.3f}"


def _table(places: Sequence[Place]) -> str:
    own = [place for place in places if not place.like_random]
    rows = [
        [place.name, f"{place.known}/{place.draws} ({place.distinct})", _number(place.dice),
         f"{_number(place.low)} to {_number(place.high)}",
         "-" if np.isnan(place.percentile) else f"{100 * place.percentile:.0f}",
         _number(place.gain, sign=True), _percent(place.share), _percent(1 - place.share)]
        for place in own
    ]  # fmt: skip
    headers = ["strategy", "picks known / draw seeds (different)", "Dice, mean", "range",
               "percentile", "gain over random", "of the possible gain", "left"]  # fmt: skip
    alike = sorted(place.name for place in places if place.like_random)
    said = f"With `random`'s own picks, for want of a cold start: {', '.join(alike)}."
    return markdown(headers, rows) + (f"\n\n{said}" if alike else "")


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:.0f} %"


def _features(results: Results, bench: Any) -> str:
    """Spearman correlation of a single first mask's Dice with what is known of the volume."""
    from scipy.stats import spearmanr

    from loops.look import RoundEvidence
    from salearn.features.index import VectorIndex

    singles = {units[0]: value for units, value in results.of_size(1).items()}
    pool = sorted(bench.pool().unlabeled)
    z = RoundEvidence(bench, 0).embeddings(pool)
    similarity, _ = VectorIndex(z).neighbours(min(20, len(pool) - 1))
    typical = dict(zip(map(str, pool), similarity.mean(axis=1), strict=True))
    centre = dict(zip(map(str, pool), z @ z.mean(axis=0), strict=True))
    both = [unit for unit in singles if unit in typical]
    rows = []
    known: list[tuple[str, Mapping[str, float]]] = [
        ("typicality (mean cosine to 20 neighbours)", typical),
        ("cosine to the mean of the pool", centre),
        ("foreground voxels (known afterwards only)", results.voxels),
    ]
    for words, values in known:
        shared = [unit for unit in both if unit in values]
        if len(shared) > 3:
            found = spearmanr([values[u] for u in shared], [singles[u] for u in shared])
            rows.append([words, f"{found.statistic:+.2f}", f"{found.pvalue:.3f}", str(len(shared))])
    return markdown(["of the volume", "Spearman with Dice", "p", "volumes"], rows)


def drawing(results: Results, picks: Picks, places: Mapping[int, Sequence[Place]]) -> Figure:
    """Above, all first masks; below, one row a strategy with the picks of its draw seeds."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from salearn.report.figures import STYLE

    order = [place.name for place in next(iter(places.values())) if not place.like_random]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.2 * len(places) + 1.6, 1.9 + 0.23 * len(order)))
        ratios = (1.5, 0.23 * len(order))
        grid = figure.subplots(2, len(places), sharex="col", squeeze=False,
                               gridspec_kw={"height_ratios": ratios})  # fmt: skip
        for column, size in enumerate(places):
            values, spread = results.of_size(size), spread_of(results.dice, size)
            _crowd(grid[0, column], list(values.values()), spread, WORDS[size])
            _rows(grid[1, column], order, picks, values, spread, size, column == 0)
        figure.tight_layout()
    return figure


def _crowd(ax: Any, values: Sequence[float], spread: Spread, words: str) -> None:
    """A histogram, and every result as a dot."""
    ax.hist(values, bins=25, color="#c4c4c4")
    jitter = np.random.default_rng(0).uniform(-0.9, -0.2, len(values))
    ax.scatter(values, jitter * ax.get_ylim()[1] * 0.12, s=6, color="#444444", linewidths=0)
    ax.set_title(f"{len(values)} {words} as the only masks", fontsize=10, fontweight="bold")
    ax.set_yticks([])
    _lines(ax, spread)


def _rows(
    ax: Any, order: Sequence[str], picks: Picks, values: Mapping[Units, float], spread: Spread,
    size: int, named: bool,
) -> None:  # fmt: skip
    rng = np.random.default_rng(0)
    for row, name in enumerate(order):
        got = [values[units] for units in picks[name][size] if units in values]
        y = len(order) - 1 - row + rng.uniform(-0.25, 0.25, len(got))
        ax.scatter(got, y, s=12, color="#0072B2", alpha=0.6, linewidths=0)
        if got:
            ax.scatter([np.mean(got)], [len(order) - 1 - row], marker="D", s=22, color="#D55E00")
    ax.set_yticks(range(len(order)), order[::-1] if named else [""] * len(order), fontsize=8)
    ax.set_ylim(-0.7, len(order) - 0.3)
    ax.set_xlabel("test Dice of the student")
    _lines(ax, spread)


def _lines(ax: Any, spread: Spread) -> None:
    """Mean of all first masks (dashed), and what the best is believed to give (solid)."""
    ax.axvline(spread.typical, color="#444444", linestyle="--", linewidth=1)
    ax.axvline(spread.believed, color="#009E73", linewidth=1)
