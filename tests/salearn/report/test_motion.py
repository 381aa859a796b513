from pathlib import Path
from typing import Any

import numpy as np
import pytest

from salearn.report.motion import MotionReport, motion_sections, write_motion_page
from salearn.report.motion_figures import Panel


def row(**changes: Any) -> dict[str, Any]:
    return {
        "num_labeled": 3, "mining": "hard", "filter": "component", "class": "tumour",
        "patient": "p1", "patients": 1, "dice": 0.5, "hd95_mm": 4.0, "excursion_z_mm": 9.0,
        "reference_excursion_z_mm": 12.0, "hysteresis_mm": None,
    } | changes  # fmt: skip


def report(**changes: Any) -> MotionReport:
    loop = [[1.0, 2.0, 3.0], [1.0, 3.0, 0.0], [None, None, None], [1.0, 2.5, 2.0]]
    pair = {"predicted": loop, "reference": loop}
    cut = np.zeros((2, 8, 6), bool)
    cut[:, 2:5, 2:4] = True
    panel = Panel(
        patient="p1", structure="tumour", names=("00", "50"), images=np.zeros((2, 8, 6)),
        found=cut, truth=cut, occupancy=cut.sum(axis=0), phases=4, target=cut[0],
        spacing=(4.0, 6.0),
    )  # fmt: skip
    given: dict[str, Any] = {
        "title": "ITV",
        "summary": [row(retention=0.9)],
        "rows": [row()],
        "tracks": {"num_labeled": 3, "mining": "hard", "patients": {"p1": {"tumour": pair}}},
        "pictures": [panel],
        "facts": {"phases": "4 (cyclic)"},
    }
    return MotionReport(**given | changes)


@pytest.mark.slow
def test_the_page_holds_table_tracks_occupancy_and_panels(tmp_path: Path) -> None:
    write_motion_page(report(), tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text()
    assert page.count("data:image/svg+xml") == 2  # centroid over phases, and from the side
    assert page.count("data:image/png") == 1
    assert "9.00 / 12.00" in page  # predicted / reference excursion
    assert "- / -" in page  # what is undefined is no number
    assert "http" not in page.replace("http://www.w3.org", "")
    write_motion_page(report(), tmp_path / "b.html")
    assert (tmp_path / "b.html").read_bytes() == (tmp_path / "a.html").read_bytes()


def test_empty_predictions_and_missing_references_are_drawn() -> None:
    nothing = [[None, None, None]] * 4
    pair = {"predicted": nothing, "reference": nothing}
    tracks = {"num_labeled": 3, "mining": "hard", "patients": {"p1": {"tumour": pair}}}
    empty = np.zeros((2, 8, 6), bool)
    panel = Panel(
        patient="p1", structure="tumour", names=("00", "50"), images=np.zeros((2, 8, 6)),
        found=empty, truth=None, occupancy=empty.sum(axis=0), phases=4, target=None,
        spacing=(4.0, 6.0),
    )  # fmt: skip
    made = motion_sections(report(tracks=tracks, pictures=[panel]))
    assert [section.id for section in made] == ["job", "targets", "motion", "tracks", "occupancy"]
