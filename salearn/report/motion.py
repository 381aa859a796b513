"""The report section of a 4-D job: ITV table, motion tracks, occupancy maps, panels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from salearn.report.blocks import (
    Block,
    Figures,
    Heading,
    Picture,
    Section,
    Table,
    Text,
    png_uri,
    svg_uri,
)
from salearn.report.motion_figures import (
    Panel,
    loop_figure,
    panel_figure,
    png_of,
    svg_of,
    track_figure,
)
from salearn.report.page import render_page
from salearn.store import write_text

HEAD = ("num_labeled", "mining", "filter", "class")
COLUMNS = {
    "dice": "ITV Dice",
    "hd95_mm": "HD95 mm",
    "nsd": "NSD",
    "coverage": "sensitivity",
    "false_positive_ml": "FP ml",
    "retention": "retention",
    "phase_dice": "phase Dice",
    "consistency": "consistency",
}
MOTION = {
    "excursion_x_mm": "x mm",
    "excursion_y_mm": "y mm",
    "excursion_z_mm": "z mm",
    "path_mm": "path mm",
    "hysteresis_mm": "hysteresis mm",
    "volume_cv": "volume CV",
    "itv_over_phase": "ITV / phase",
    "itv_over_core": "ITV / core",
    "margin_z+": "margin up",
    "margin_z-": "margin down",
}
MOST = 6  # patients whose tracks are drawn


@dataclass(frozen=True, kw_only=True)
class MotionReport:
    """What a page of a 4-D job is made from.

    Attributes:
        summary: means over patients per budget, arm, filter and class.
        rows: of every patient.
        tracks: {"patients": {patient: {class: {"predicted": [[x, y, z]], "reference": ...}}}}.
        pictures: cuts through structures. facts: what -> words.
    """

    title: str
    summary: Sequence[Mapping[str, Any]]
    rows: Sequence[Mapping[str, Any]]
    tracks: Mapping[str, Any]
    pictures: Sequence[Panel] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


def write_motion_page(report: MotionReport, path: Path) -> None:
    """Write the page as one HTML file that loads nothing."""
    write_text(path, render_page(motion_sections(report), report.title))


def motion_sections(report: MotionReport) -> list[Section]:
    """All sections: what was done, targets, motion, tracks, occupancy and panels."""
    facts = Text(items=tuple(f"{what}: {words}" for what, words in report.facts.items()))
    return [
        Section(id="job", title="What was done", blocks=[facts, _reading()]),
        Section(id="targets", title="Internal target volumes", blocks=_target_blocks(report)),
        Section(id="motion", title="Motion", blocks=[_motion_table(report)]),
        Section(id="tracks", title="Motion tracks", blocks=_track_blocks(report)),
        Section(id="occupancy", title="Occupancy and panels", blocks=_panel_blocks(report)),
    ]


def _reading() -> Text:
    return Text(
        paragraphs=(
            "ITV = union of the phases (or votes). Sensitivity = share of the reference ITV that "
            "is covered. HD95 = greater of the two directed 95th percentiles, in mm; read it next "
            "to the spacing. Retention = ITV Dice as a share of that with all labels.",
        )
    )


def _target_blocks(report: MotionReport) -> list[Block]:
    classes = list(dict.fromkeys(row["class"] for row in report.summary))
    return [_target_table(report, name) for name in classes]


def _target_table(report: MotionReport, name: str) -> Table:
    rows = [
        [*(str(row[key]) for key in HEAD[:-1]), *(_cell(row.get(key)) for key in COLUMNS)]
        for row in report.summary
        if row["class"] == name
    ]
    headers = ["labels", "hard negatives", "filter", *COLUMNS.values()]
    patients = max((int(row["patients"]) for row in report.summary), default=0)
    return Table(
        name=f"itv_{name}", caption=f"{name}: ITV on {patients} test patients, means",
        headers=headers, rows=rows, fixed=3,
    )  # fmt: skip


def _motion_table(report: MotionReport) -> Block:
    """Predicted / reference of every patient, at the last budget under the last filter."""
    told = [row for row in report.rows if row["num_labeled"] == report.tracks["num_labeled"]]
    told = [row for row in told if row["mining"] == report.tracks["mining"]]
    last = told[-1]["filter"] if told else None
    rows = [
        [row["patient"], row["class"], *(_pair(row, key) for key in MOTION)]
        for row in told
        if row["filter"] == last
    ]
    return Table(
        name="motion", caption=f"Predicted / reference, filter {last}",
        headers=["patient", "class", *MOTION.values()], rows=rows, fixed=2,
    )  # fmt: skip


def _pair(row: Mapping[str, Any], key: str) -> str:
    return f"{_cell(row.get(key), 2)} / {_cell(row.get('reference_' + key), 2)}"


def _cell(value: float | None, digits: int = 3) -> str:
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.{digits}f}"


def _track_blocks(report: MotionReport) -> list[Block]:
    blocks: list[Block] = []
    for patient, classes in list(report.tracks["patients"].items())[:MOST]:
        blocks.append(Heading(text=patient))
        for name, pair in classes.items():
            if name not in _moving(report):
                continue
            phases = [str(k) for k in range(len(pair["predicted"]))]
            drawings = {
                f"{name}: centroid over the phases": track_figure(pair, phases),
                f"{name}: path from the side": loop_figure(pair),
            }
            blocks.append(
                Figures(
                    pictures=[
                        Picture(data=svg_uri(svg_of(figure)), alt=f"{patient}, {words}")
                        for words, figure in drawings.items()
                    ],
                    caption=f"{name}: centroid over the phases, and its way seen from the side",
                )
            )
    return blocks or [Text(paragraphs=("No test patient has a structure to follow.",))]


def _moving(report: MotionReport) -> set[str]:
    """Classes whose path is drawn: the pictured ones, or all."""
    return {panel.structure for panel in report.pictures} or {
        row["class"] for row in report.summary
    }


def _panel_blocks(report: MotionReport) -> list[Block]:
    blocks: list[Block] = [
        Figures(
            pictures=[
                Picture(
                    data=png_uri(png_of(panel_figure(panel))),
                    alt=f"{panel.patient}, {panel.structure}: two phases and phases occupied",
                )
            ],
            caption=f"{panel.patient}, {panel.structure}: prediction (orange), reference "
            "(blue, dashed). Right: in how many phases a voxel is occupied; white = reference ITV.",
        )
        for panel in report.pictures
    ]
    return blocks or [Text(paragraphs=("No pictures.",))]
