import json

import numpy as np
import pytest

from loops.pseudo import (
    PseudoSettings,
    confidence,
    read_pseudo_labels,
    select_reliable,
    write_pseudo_labels,
)
from salearn.cases import CaseId
from salearn.errors import ConfigError, TrainingError
from salearn.segmenter import PseudoLabels
from salearn.store import Store

# Two voxels, three classes: sure of background, unsure of class 1.
TWO = np.array([[1.0, 0.25], [0.0, 0.5], [0.0, 0.25]], dtype=np.float32).reshape(3, 2, 1, 1)


class Fixed:
    """A segmenter that answers a probability made of the first voxel, and counts volumes."""

    def __init__(self, value=None):
        self.seen = 0
        self.value = value

    def predict(self, volumes):
        for volume in volumes:
            self.seen += 1
            p = np.float32(volume[0, 0, 0, 0] if self.value is None else self.value)
            yield np.stack([np.full((2, 2, 2), 1 - p), np.full((2, 2, 2), p)])

    def save(self, path):
        raise NotImplementedError


def image(value):
    return np.full((1, 2, 2, 2), value, dtype=np.float32)


def labels(tmp_path, *values):
    return [
        PseudoLabels(case_id=CaseId(f"c{i}"), probabilities=tmp_path, confidence=value)
        for i, value in enumerate(values)
    ]


def test_confidence_of_two_voxels_by_hand():
    assert confidence(TWO, "volume") == pytest.approx((1.0 + 0.5) / 2)
    assert confidence(TWO, "foreground") == pytest.approx(0.5)
    # Entropies: 0 and 1/2 ln 2 + 2 * 1/4 ln 4 = 3/2 ln 2; mean over ln 3.
    expected = 1 - 0.5 * 1.5 * np.log(2) / np.log(3)
    assert confidence(TWO, "entropy") == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ConfigError, match=r"pseudo\.estimator"):
        confidence(TWO, "magic")


def test_confidence_without_foreground_is_zero_and_of_certainty_one():
    sure = np.stack([np.ones((2, 2, 2)), np.zeros((2, 2, 2))]).astype(np.float16)
    assert confidence(sure, "foreground") == 0
    assert confidence(sure, "volume") == 1
    assert confidence(sure, "entropy") == pytest.approx(1, abs=1e-5)
    even = np.full((2, 2, 2, 2), 0.5, np.float16)
    assert confidence(even, "entropy") == pytest.approx(0, abs=1e-6)


def test_volumes_are_kept_by_threshold_and_by_share(tmp_path):
    made = labels(tmp_path, 0.9, 0.99, 0.985, 0.99)

    def kept(**values):
        return [label.case_id for label in select_reliable(made, PseudoSettings(**values))]

    assert kept(keep="all") == ["c0", "c1", "c2", "c3"]
    assert kept(keep="threshold", threshold=0.985) == ["c1", "c2", "c3"]
    assert kept(keep="quantile", quantile=0.5) == ["c1", "c3"]
    assert kept(keep="quantile", quantile=0.25) == ["c1"]  # of equals the earlier id
    assert select_reliable([], PseudoSettings(keep="quantile")) == []


def test_probabilities_are_stored_once_as_float16_with_their_confidence(tmp_path):
    store, keys = Store(tmp_path), {CaseId("a"): "ka", CaseId("b"): "kb"}
    items = [(CaseId("a"), image(0.75)), (CaseId("b"), image(0.25))]
    segmenter, calls = Fixed(), []
    given = PseudoSettings(estimator="volume")
    write_pseudo_labels(segmenter, items, store, keys, given, lambda *call: calls.append(call))
    assert segmenter.seen == 2
    assert calls == [(1, 2, {"confidence": 0.75}), (2, 2, {"confidence": 0.75})]
    stored = read_pseudo_labels(CaseId("a"), store.path("pseudo", "ka"), given)
    assert stored.confidence == 0.75
    assert stored.load().dtype == np.float16
    np.testing.assert_array_equal(stored.load()[1], 0.75)
    values = json.loads((store.path("pseudo", "kb") / "confidence.json").read_text())
    assert values["foreground"] == 0
    write_pseudo_labels(segmenter, iter(items), store, keys, given)
    assert segmenter.seen == 2


def test_only_missing_volumes_are_predicted(tmp_path):
    store = Store(tmp_path)
    keys = {CaseId(f"c{i}"): f"k{i}" for i in range(6)}
    items = [(case, image(0.5)) for case in keys]
    write_pseudo_labels(Fixed(), items[:2], store, keys, PseudoSettings())
    segmenter = Fixed()
    write_pseudo_labels(segmenter, items, store, keys, PseudoSettings())
    assert segmenter.seen == 4
    assert all(store.has("pseudo", key) for key in keys.values())


def test_probabilities_that_are_not_finite_are_refused_by_case(tmp_path):
    with pytest.raises(TrainingError, match="case a are not finite"):
        write_pseudo_labels(
            Fixed(float("nan")),
            [(CaseId("a"), image(0))],
            Store(tmp_path),
            {CaseId("a"): "k"},
            PseudoSettings(),
        )
