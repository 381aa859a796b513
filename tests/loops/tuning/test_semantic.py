"""The semantic loss: what each term sees, and what it refuses."""

import math

import pytest
import torch

from loops.finetune import FinetuneSettings
from loops.tuning.checks import refuse_unfit
from loops.tuning.loss import SemanticSettings, semantic_loss
from salearn.cases import IGNORE
from salearn.errors import ConfigError
from salearn.hard_negatives import NegativeSettings
from salearn.models.sam3 import SamSettings

LN2 = math.log(2)


def target() -> torch.Tensor:
    """Four pixels: class 1 there, class 2 not, one pixel unknown."""
    return torch.tensor([[[1, 0], [0, IGNORE]]])


def test_all_terms_by_hand():
    given = SemanticSettings(dice=1, focal=1, alpha=0.6, gamma=2, presence=0.5)
    logits, presence = torch.zeros(1, 2, 2, 2), torch.zeros(1, 2)
    # focal, mean over 2 x 3 known: 1/4 ln 2 (1 x 0.6 + 5 x 0.4) / 6
    pixels = 0.25 * LN2 * 2.6 / 6
    # Dice of prompt 1 alone: 1 - (2 x 1/2 + 1) / (3/2 + 1 + 1); presence: ln 2 each
    expected = pixels + 1 - 2 / 3.5 + 0.5 * LN2
    assert semantic_loss(logits, presence, target(), given).item() == pytest.approx(expected)
    without = semantic_loss(logits, None, target(), given)
    assert without.item() == pytest.approx(expected - 0.5 * LN2)
    weights = torch.zeros(1, 2, 2, 2)
    weights[0, 0, 0, 0], weights[0, 1, 0, 1] = 3, 1
    only = semantic_loss(logits, None, target(), SemanticSettings(dice=0), weights)
    assert only.item() == pytest.approx(0.25 * LN2 * (3 * 0.6 + 0.4) / 4)


def test_focal_reaches_all_prompts_and_dice_only_those_with_something_to_find():
    logits = torch.zeros(1, 2, 2, 2, requires_grad=True)
    (focal_only,) = torch.autograd.grad(
        semantic_loss(logits, None, target(), SemanticSettings(dice=0)), logits
    )
    known = target()[0] != IGNORE
    assert (focal_only[0, :, known] != 0).all()
    assert (focal_only[0, :, ~known] == 0).all()
    (dice_only,) = torch.autograd.grad(
        semantic_loss(logits, None, target(), SemanticSettings(focal=0)), logits
    )
    assert (dice_only[0, 1] == 0).all()
    assert (dice_only[0, 0, known] != 0).all()


def test_presence_learns_from_the_mask_and_not_from_what_nobody_knows():
    presence = torch.zeros(2, 2, requires_grad=True)
    both = torch.cat([target(), torch.full((1, 2, 2), IGNORE)])
    given = SemanticSettings(dice=0, focal=0, presence=1)
    loss = semantic_loss(torch.zeros(2, 2, 2, 2), presence, both, given)
    assert loss.item() == pytest.approx(LN2)
    loss.backward()
    # sigmoid(0) - y, over the two prompts of the known image
    assert presence.grad.tolist() == [[-0.25, 0.25], [0, 0]]


@pytest.mark.parametrize(
    ("presence", "settings", "mining", "words"),
    [
        ("off", {"loss": "semantic"}, None, "sam.presence=train"),
        ("train", {"loss": "prompt"}, None, "nothing trains"),
        ("gate", {"loss": "semantic", "semantic": {"presence": 0}}, None, "nothing trains"),
        ("off", {"loss": "sfr"}, NegativeSettings(pixel=True), "loss=prompt or semantic"),
    ],
)
def test_what_does_not_go_together_is_refused(presence, settings, mining, words):
    given, sam = FinetuneSettings(**settings), SamSettings(presence=presence)
    with pytest.raises(ConfigError, match=words):
        refuse_unfit(sam, given, mining)


def test_what_goes_together_is_not_refused():
    refuse_unfit(SamSettings(presence="gate"), FinetuneSettings(), None, trains=False)
    refuse_unfit(SamSettings(presence="train"), FinetuneSettings(loss="semantic"), None)
    refuse_unfit(SamSettings(), FinetuneSettings(loss="sfr"), NegativeSettings())
