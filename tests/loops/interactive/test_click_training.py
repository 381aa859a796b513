"""Clicks learnt on generated scenes: the recipe decides the numbers, the trunk stays."""

from pathlib import Path

import numpy as np
import pytest
import torch

from loops.interactive.scenes import LEAST, draw_slices
from loops.interactive.training import ClickTraining, train_clicks, trainable
from salearn.data.procedural import SceneSettings
from salearn.errors import WeightsError
from salearn.models.interactive import tracker_weights
from salearn.models.interactive.tracker import Tracker, load_tracker
from salearn.models.interactive.tracker_weights import TrackerSettings, mini_frame
from salearn.models.sam3_mini import FOLDER

shipped = pytest.mark.skipif(not FOLDER.exists(), reason="the weights are not in this checkout")


def test_slices_are_the_same_for_the_same_numbers_and_show_something() -> None:
    one, two = (
        draw_slices(SceneSettings(), 4, 64, 32, np.random.default_rng([0, 1])) for _ in range(2)
    )
    assert (one.images == two.images).all()
    assert one.images.shape == (4, 1, 64, 64)
    assert one.targets.shape == one.others.shape == (4, 32, 32)
    assert one.targets.any(axis=(1, 2)).all()
    assert LEAST > 1


@pytest.mark.slow
@shipped
def test_a_training_changes_all_but_vision_and_can_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ClickTraining(steps=2, batch=2, clicks=2, tracker=TrackerSettings(resolution=32))
    record = train_clicks(given, tmp_path)
    again = train_clicks(given, tmp_path / "again")
    assert record == again
    named = TrackerSettings(resolution=32, weights=str(tmp_path))
    loaded = load_tracker(named).model.state_dict()
    fresh = mini_frame(given.tracker).state_dict()
    changed = {name for name, v in loaded.items() if not torch.allclose(v, fresh[name], atol=1e-3)}
    assert not any(name.startswith("vision_encoder.") for name in changed)
    assert any(name.startswith("mask_decoder.") for name in changed)
    monkeypatch.setattr(tracker_weights, "FOLDER", tmp_path / "again")
    packaged = TrackerSettings(resolution=32, weights="mini")
    twin = load_tracker(packaged).model.state_dict()
    assert all(torch.equal(value, twin[name]) for name, value in loaded.items())
    file = tmp_path / "clicks.safetensors"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(WeightsError, match="damaged"):
        load_tracker(named)


@shipped
def test_what_is_trained_is_counted_once() -> None:
    tracker = Tracker(mini_frame(TrackerSettings(resolution=32)), TrackerSettings())
    assert sum(p.numel() for p in trainable(tracker)) < 200_000
    assert not any(p.requires_grad for p in tracker.model.vision_encoder.parameters())
