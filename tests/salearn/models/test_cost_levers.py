"""What the memory levers cost and save, against counts by hand and by autograd itself."""

import pytest

from loops.config import parse_run
from loops.tuning import levers
from salearn.models import cost, cost_levers
from salearn.models.arms.registry import build
from salearn.models.pretexts.registry import PRETEXTS
from salearn.models.sam3 import SamSettings

TINY = SamSettings(weights="tiny", resolution=64)


@pytest.fixture(scope="module")
def tiny():
    return cost.unloaded_sam(TINY, ("one",))


@pytest.mark.slow
def test_frozen_blocks_keep_no_activations(tiny):
    count = cost.flops(tiny)
    found = {
        last: cost_levers.frozen_cost(tiny, build("full", {"last": last}), 1, count)
        for last in (1, 3)
    }
    assert (found[1]["frozen"], found[3]["frozen"]) == (3, 1)
    for one in found.values():
        whole = one["prefix_gflop"] + one["behind_gflop"]
        assert whole == pytest.approx(count["forward"])
        assert one["train_gflop"] == pytest.approx(one["prefix_gflop"] + 2 * one["behind_gflop"])
        assert one["train_cached_gflop"] == pytest.approx(2 * one["behind_gflop"])
    kept = {
        last: cost.step_memory(tiny, build("full", {"last": last}), 1)["activations"]
        for last in (1, 3)
    }
    saved = found[1]["gib_not_kept"] - found[3]["gib_not_kept"]
    # Autograd's own count, but for what a block's first norm keeps of its input.
    assert kept[3] - kept[1] == pytest.approx(saved, rel=0.15)


@pytest.mark.slow
def test_nothing_is_saved_where_all_is_trained(tiny):
    found = cost_levers.frozen_cost(tiny, build("lora"), 1)
    assert (found["frozen"], found["gib_not_kept"], found["prefix_gflop"]) == (0, 0, 0)
    assert found["train_gflop"] == found["train_cached_gflop"]


def test_sizes_by_hand(tiny):
    # 64 / patch tokens a side, of the trunk's width, 2 bytes each.
    side, width = 64 // tiny.patch, tiny.backbone.config.hidden_size
    assert cost_levers.feature_bytes(tiny, "float16") == side * side * width * 2
    assert cost_levers.feature_bytes(tiny, "float32") == side * side * width * 4
    count = cost.trainable_counts(tiny, build("lora"))["all"]
    assert cost_levers.teacher_bytes(tiny, build("lora")) == 4 * count


@pytest.mark.slow
def test_a_pretext_costs_five_trunks_and_its_activations(tiny):
    trunk = cost.parameters(tiny)["vision_trunk"]
    whole = cost_levers.pretext_cost(tiny, PRETEXTS.build("mae", {"form": "A", "micro": 2}))
    assert whole["parameters"] == trunk
    fixed = sum(whole["gib"][name] for name in ("weights", "gradients", "optimiser"))
    assert fixed * cost.GIB == pytest.approx(5 * 4 * trunk)
    less = cost_levers.pretext_cost(tiny, PRETEXTS.build("mae", {"form": "B", "micro": 2}))
    assert less["gib"]["activations"] == pytest.approx(0.25 * whole["gib"]["activations"])


@pytest.mark.slow
def test_the_plan_tells_the_levers(tiny):
    config = parse_run(
        {
            "learner": "sfr_mean_teacher",
            "sam": {"weights": "tiny", "resolution": 64},
            "arm": {"name": "decoder"},
            "finetune": {"cache": {"dtype": "float32"}, "teacher": {}, "iterations": 10},
            "pretext": {"name": "mae"},
        },
        "test",
    )
    found = levers.of_config(config, tiny, config.build_arm())
    assert found["cache"]["draws"] == 10
    one = cost_levers.feature_bytes(tiny, "float32") / cost.GIB
    assert found["cache"]["gib_at_most"] == pytest.approx(10 * one)
    text = "\n".join(levers.lines(found))
    for word in ("the first 4 of 4", "at most", "base is held once", "parameters of the trunk"):
        assert word in text
    plain = parse_run({"learner": "sfr_mean_teacher"}, "test")
    bare = levers.of_config(plain, tiny, plain.build_arm())
    assert [bare[name] for name in ("cache", "teacher", "pretext")] == [None] * 3
    assert len(levers.lines(bare)) == 1
