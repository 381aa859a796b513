"""A cluster loses one of its two nodes in the middle of a study: small, but the real thing."""

import json

import pytest

from benchmarks import chaos_sweep


@pytest.mark.slow
def test_a_lost_node_costs_no_finished_cell_and_changes_no_result(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert chaos_sweep.main(["--cells", "6", "--parts", "calm", "nodes"]) == 0
    found = json.loads(capsys.readouterr().out)["nodes"]
    assert found["exit_code"] == 0
    assert (found["done"], found["equal_cells"]) == (6, 6)
    assert 0 < found["done_when_removed"] < 6
    assert not found["trained_twice"]
