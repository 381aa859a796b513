"""What only a card can show; skipped without one."""

from pathlib import Path

import numpy as np
import pytest
import torch

from loops.ssl.registry import build
from loops.student import StudentSettings, load_student, train_student
from salearn.cases import CaseId
from salearn.data.patches import Example

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]


def box(name: str) -> Example:
    mask = np.zeros((16, 16, 16), np.uint8)
    mask[4:12, 4:12, 4:12] = 1
    noise = np.random.default_rng(0).normal(0, 0.1, mask.shape)
    image = (mask + noise).astype(np.float32)[None]
    return Example(case_id=CaseId(name), image=image, mask=mask)


def test_a_student_trained_on_the_card_segments_on_the_card(tmp_path: Path) -> None:
    settings = StudentSettings(width=4, depth=2, patch=(16, 16, 16), iterations=40, device="cuda")
    example = box("a")
    unlabeled = Example(case_id=CaseId("u"), image=example.image, mask=None)
    host = build("mean_teacher")
    train_student([example], [unlabeled], 2, settings, host, None, tmp_path, seed=0)
    student = load_student(tmp_path, "student")
    assert student.device.type == "cuda"
    (probabilities,) = student.predict([example.image])
    labels = probabilities.argmax(axis=0)
    assert (labels == example.mask).mean() > 0.9
