"""Pictures of generated scenes, for masked autoencoding before prompts are learnt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from loops.pretraining.data import MakeStitcher, Phase, draw_batch
from loops.pretraining.recipe import PretrainSettings
from salearn.errors import ConfigError
from salearn.models.pretexts.registry import Shown

ENDLESS = 2**31 - 1  # pictures: none is shown twice
HELD_OUT_STREAM = 2**32  # far from the number of any iteration


class ScenePictures:
    """Scenes of the curriculum, shown as the views of one size show them; masks are thrown away.

    Args:
        shown: side of the pictures, and single slices or mosaics.
        make: lays slices out. token: patch of the model, pixels.

    Raises:
        ConfigError: no view of the curriculum shows such pictures.
    """

    def __init__(
        self, given: PretrainSettings, shown: Shown, make: MakeStitcher, token: int
    ) -> None:
        self._given, self._make, self._token = given, make, token
        mode = "single" if shown.single else "mosaic"
        self._phases: list[Phase] = []
        for phase in given.curriculum:
            views = tuple(v for v in phase.views if (v.canvas, v.mode) == (shown.side, mode))
            if views:
                self._phases.append(replace(phase, views=views, prompts=1))
        if not self._phases:
            sides = sorted({(v.mode, v.canvas) for p in given.curriculum for v in p.views})
            known = ", ".join(f"{name} of {side} pixels" for name, side in sides)
            raise ConfigError(
                f"mae: no view of the curriculum is a {mode} of {shown.side} pixels; set "
                f"mae.resolution or mae.form to show one of: {known}"
            )

    def __len__(self) -> int:
        """As many as anybody asks for."""
        return ENDLESS

    def draw(self, count: int, rng: np.random.Generator) -> Float[Tensor, "b 3 side side"]:
        """New scenes, of phases as often as the curriculum has them."""
        shares = np.array([phase.share for phase in self._phases])
        found: list[Tensor] = []
        while sum(map(len, found)) < count:
            phase = self._phases[int(rng.choice(len(shares), p=shares / shares.sum()))]
            batch = draw_batch(phase, self._given.scenes, self._make, self._token, rng)
            found.append(batch.images)
        return torch.cat(found)[:count]

    def plain(self, most: int) -> Float[Tensor, "b 3 side side"]:
        """Scenes that no iteration is shown."""
        return self.draw(most, np.random.default_rng([self._given.seed, HELD_OUT_STREAM]))
