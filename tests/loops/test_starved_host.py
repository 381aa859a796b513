"""A host that some round would leave without unlabeled cases is refused before the first one."""

import pytest
import tiny

from loops.cell import run_cell
from loops.config import parse_run
from salearn.errors import ConfigError

pytestmark = pytest.mark.slow


def test_a_budget_that_leaves_nothing_unlabeled_trains_nothing(tmp_path):
    values = tiny.values(tmp_path, learner="mean_teacher", budget=[1, 6])  # 9 - 2 test - 1 val
    with pytest.raises(ConfigError, match=r"host mean_teacher .* no unlabeled case"):
        run_cell(parse_run(values, "test"))
    assert not (tmp_path / "run" / "trainings.jsonl").exists()
    assert not (tmp_path / "run" / "queries.jsonl").exists()
