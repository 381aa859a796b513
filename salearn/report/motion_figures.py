"""Drawings of motion: centroid tracks, occupancy maps, phases with contours."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from salearn.report.figures import COLOURS, STYLE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AXES = (("x", "right"), ("y", "front"), ("z", "up"))
TRUTH, FOUND, ON_IMAGE = "#444444", COLOURS[1], COLOURS[5]  # dark lines drown in CT
WIDTH = 4.2  # inches, legible on a phone


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """A coronal cut through one structure of one patient.

    Attributes:
        images: the two phases that lie farthest apart, -1..1.
        found, truth: its mask in these phases; truth is None without a reference.
        occupancy: phases in which a voxel of the cut is in the structure; phases: of how many.
        target: the reference ITV in the cut, or None.
        spacing: mm along x and z.
    """

    patient: str
    structure: str
    names: tuple[str, str]
    images: Float[np.ndarray, "2 x z"]
    found: Bool[np.ndarray, "2 x z"]
    truth: Bool[np.ndarray, "2 x z"] | None
    occupancy: Int[np.ndarray, "x z"]
    phases: int
    target: Bool[np.ndarray, "x z"] | None
    spacing: tuple[float, float]


def track_figure(
    tracks: Mapping[str, Sequence[Sequence[float | None]]], phases: Sequence[str]
) -> Figure:
    """Predicted and reference centroid along x, y, z over the phases, mm from the mean."""
    import matplotlib
    from matplotlib.figure import Figure

    lines = {name: _numbers(values) for name, values in tracks.items()}
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
        panels = figure.subplots(3, 1, sharex=True)
        for axis, ax in enumerate(panels):
            known = [t[:, axis] for t in (lines["reference"], lines["predicted"])]
            middle = next((float(np.nanmean(t)) for t in known if np.isfinite(t).any()), 0.0)
            for name, style in (("reference", (TRUTH, "o--")), ("predicted", (FOUND, "s-"))):
                track = lines[name][:, axis]
                if np.isfinite(track).any():
                    ax.plot(track - middle, style[1], color=style[0], label=name, markersize=4)
            ax.set_ylabel(f"{AXES[axis][0]} ({AXES[axis][1]}) mm")
        panels[2].set_xticks(range(len(phases)), phases)
        panels[2].set_xlabel("phase")
        if panels[0].get_lines():
            panels[0].legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure


def loop_figure(tracks: Mapping[str, Sequence[Sequence[float | None]]]) -> Figure:
    """The way of the centroid seen from the side: y against z; a wide loop is hysteresis."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
        ax = figure.subplots()
        for name, color in (("reference", TRUTH), ("predicted", FOUND)):
            track = _numbers(tracks[name])
            track = track[np.isfinite(track).all(axis=1)]
            if len(track):
                ring = np.concatenate([track, track[:1]])
                ax.plot(ring[:, 1], ring[:, 2], "o-", color=color, label=name, markersize=4)
        ax.set_xlabel("y (front) mm")
        ax.set_ylabel("z (up) mm")
        ax.set_aspect("equal", adjustable="datalim")
        if ax.get_lines():
            ax.legend(frameon=False)
    return figure


def panel_figure(panel: Panel) -> Figure:
    """The two extreme phases with contours, and the occupancy map with the reference ITV."""
    import matplotlib
    from matplotlib.figure import Figure

    style = STYLE | {"axes.grid": False}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(WIDTH * 2, 2.6), layout="constrained")
        for ax, k in zip(figure.subplots(1, 3), range(3), strict=True):
            ax.set_xticks([])
            ax.set_yticks([])
            if k == 2:
                _occupancy(figure, ax, panel)
                continue
            ax.imshow(panel.images[k].T, cmap="gray", vmin=-1, vmax=1, **_place(panel))
            _contour(ax, panel, None if panel.truth is None else panel.truth[k], ON_IMAGE, "--")
            _contour(ax, panel, panel.found[k], FOUND, "-")
            ax.set_title(f"phase {panel.names[k]}", fontsize=10)
    return figure


def svg_of(figure: Figure) -> bytes:
    """The same figure always gives the same bytes."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def png_of(figure: Figure) -> bytes:
    """For pictures of images, which are smaller as pixels."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def _numbers(track: Sequence[Sequence[float | None]]) -> np.ndarray:
    rows = [[np.nan if v is None else v for v in row] for row in track]
    return np.array(rows, dtype=float).reshape(-1, 3)


def _place(panel: Panel) -> dict[str, Any]:
    return {
        "origin": "lower",
        "aspect": panel.spacing[1] / panel.spacing[0],
        "interpolation": "nearest",
    }


def _contour(ax: Any, panel: Panel, mask: np.ndarray | None, color: str, style: str) -> None:
    if mask is not None and mask.any() and not mask.all():
        ax.contour(mask.T.astype(float), levels=[0.5], colors=[color], linestyles=[style])


def _occupancy(figure: Figure, ax: Any, panel: Panel) -> None:
    shown = ax.imshow(panel.occupancy.T, cmap="cividis", vmin=0, vmax=panel.phases, **_place(panel))
    _contour(ax, panel, panel.target, "#ffffff", "--")
    ax.set_title("phases occupied", fontsize=10)
    figure.colorbar(shown, ax=ax, shrink=0.8)
