from pathlib import Path

import numpy as np
import pytest
import torch

from loops import finetune as stage
from loops.stitch import Stitcher, StitchSettings
from loops.tuning.mining import Mining
from salearn.cases import IGNORE, CaseId
from salearn.data.patches import Example
from salearn.hard_negatives import NegativeSettings
from salearn.models.lora import LoraSettings
from salearn.models.pixels import Window
from salearn.models.sam3 import SamSettings, load_sam


def test_the_loss_is_focal_and_only_on_prompts_without_a_structure() -> None:
    logits = torch.zeros(1, 2, 2, 2)
    target = torch.zeros(1, 2, 2, dtype=torch.long)
    target[0, 0, 0] = 1  # class 1 is there, class 2 is not
    target[0, 1, 1] = IGNORE
    given = NegativeSettings(prompt_weight=0.5, gamma=2)
    found = Mining(given, 0).loss(logits, target)
    # sigmoid(0)^2 * softplus(0) = 0.25 ln 2, the same at the three known pixels
    assert found.item() == pytest.approx(0.5 * 0.25 * np.log(2))
    target[0, 0, 1] = 2
    assert Mining(given, 0).loss(logits, target).item() == 0


def test_slices_are_picked_by_hardness_of_the_class_of_the_step() -> None:
    mask = np.zeros((8, 4, 4), np.uint8)
    mask[:3] = 1
    mining = Mining(NegativeSettings(share=0.5, hard=1.0, temperature=0.01), 0)
    hard = torch.tensor([[0, 0, 0, 0.1, 0.1, 0.9, 0.1, 0.1]], dtype=torch.float64)
    mining.load({"4": hard})
    rng = np.random.default_rng(0)
    used = np.arange(8)
    assert all(5 in mining.pick(4, mask, used, 2, rng) for _ in range(20))
    others = [set(mining.pick(0, mask, used, 2, rng).tolist()) for _ in range(40)]
    assert len(set().union(*others) & {3, 4, 6, 7}) == 4  # nothing is known of volume 0
    assert torch.equal(mining.state()["4"], hard)


def test_a_volume_without_structures_gives_any_slices() -> None:
    mask = np.zeros((5, 4, 4), np.uint8)
    picked = Mining(NegativeSettings(), 0).pick(
        0, mask, np.arange(1, 5), 3, np.random.default_rng(0)
    )
    assert len(set(picked.tolist())) == 3
    assert 0 not in picked


@pytest.mark.slow
def test_a_cut_training_with_mining_ends_as_an_uncut_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sam = load_sam(SamSettings(resolution=32), ("object",))
    image = np.random.default_rng(0).uniform(-1, 1, (1, 16, 16, 6)).astype(np.float32)
    mask = np.zeros((16, 16, 6), np.uint8)
    mask[4:9, 4:9, 1:3] = 1
    case = [Example(case_id=CaseId("box"), image=image, mask=mask)]
    given = stage.FinetuneSettings(iterations=5, batch=2, checkpoint_every=2, log_every=1)
    refreshed: list[int] = []

    def train(work: Path) -> bytes:
        mining = Mining(NegativeSettings(warm=0.2, refresh=1.0), 0)  # measured once, before 1
        refresh = mining.refresh

        def counted(iteration: int, iterations: int, sam: object, mosaics: object) -> None:
            refreshed.append(iteration)
            if iteration == stop:
                raise KeyboardInterrupt
            refresh(iteration, iterations, sam, mosaics)  # type: ignore[arg-type]

        monkeypatch.setattr(mining, "refresh", counted)
        stage.finetune(
            case, sam, LoraSettings(rank=2), Stitcher(StitchSettings(policy="single"), 2), given,
            work, 3, window=Window.identity(1), mining=mining,
        )  # fmt: skip
        return (work / "adapter_model.safetensors").read_bytes()

    stop = -1
    whole = train(tmp_path / "whole")
    stop = 3
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts")
    stop = -1
    refreshed.clear()
    assert train(tmp_path / "parts") == whole
    assert refreshed == [2, 3, 4]
