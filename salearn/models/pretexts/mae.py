"""MAE: the vision trunk learns to complete pictures of which most patches are hidden."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from salearn.errors import ConfigError
from salearn.models.pretexts.decoder import DecoderSettings
from salearn.models.pretexts.registry import (
    Pictures,
    PretextSettings,
    Report,
    Shown,
    TrunkState,
    register,
)
from salearn.models.pretexts.trunk import window_tokens
from salearn.models.sam3 import Sam
from salearn.settings import Field, settings


@register("mae")
@settings
class Mae(PretextSettings):
    """Masked autoencoding of pool images; afterwards the decoder is thrown away.

    Attributes:
        form: "A" = hidden patch embeddings become a learned token, the full grid passes (no
            speed-up, exact on any backbone); "B" = hidden tokens are dropped, as many in each
            attention window, so windowed blocks stay dense; "C" = one slice fills one window, and
            only visible tokens pass (336 pixels for SAM3).
        mask: share of the patches that is hidden.
        resolution: side of the pictures, pixels. None = that of the run for A and B, the window
            for C, which takes no other.
        iterations: at most. epochs: passes over the pool, at most; what is less counts.
        batch: pictures in a step. micro: of them at once in memory.
        learning_rate: of the last block of the trunk; that of others is `layer_decay` to the
            power of their distance from it. decoder_rate: of what is fresh.
        warmup: share of the iterations in which rates rise linearly; then a cosine to 0.
        anchor: weight of the mean squared difference between the new and the old trunk's features
            of the whole picture, which keeps text and trunk aligned; 0 = none, else .1 to 1.
        ema: decay of averaged weights, which are then what is checked and kept; 0 = none.
        flat: a patch whose intensities (-1..1) lie no further apart is black border or void, and
            is not scored.
        check_every: iterations between looks at the held-out pictures; the best trunk is kept.
        patience: looks without a gain after which the training ends; 0 = never.
        held_out_pictures: looked at, and used for the drift report; at most.
    """

    SOURCE: ClassVar[str] = (
        "He et al. 2022, SimMIM; forms for windowed attention are reconstructions (docs/mae.md)"
    )
    form: Literal["A", "B", "C"] = "A"
    mask: float = Field(default=0.75, gt=0, lt=1)
    resolution: int | None = Field(default=None, ge=1)
    iterations: int = Field(default=2000, ge=1, le=20_000)
    epochs: int = Field(default=200, ge=1)
    batch: int = Field(default=32, ge=1)
    micro: int = Field(default=4, ge=1)
    learning_rate: float = Field(default=5e-5, ge=0)
    decoder_rate: float = Field(default=1e-3, gt=0)
    layer_decay: float = Field(default=0.9, gt=0, le=1)
    weight_decay: float = Field(default=0.05, ge=0)
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (
        0.9,
        0.95,
    )
    warmup: float = Field(default=0.05, ge=0, lt=1)
    clip: float = Field(default=1.0, gt=0)
    decoder: DecoderSettings = DecoderSettings()
    anchor: float = Field(default=0.0, ge=0)
    ema: float = Field(default=0.0, ge=0, lt=1)
    flat: float = Field(default=1e-3, ge=0)
    check_every: int = Field(default=50, ge=1)
    patience: int = Field(default=5, ge=0)
    held_out_pictures: int = Field(default=64, ge=1)
    checkpoint_every: int = Field(default=100, ge=1)
    log_every: int = Field(default=10, ge=1)
    amp: bool = False

    def shown(self, sam: Sam) -> Shown:
        """Mosaics of the run's size for A and B, single slices of one window for C."""
        window = sam.patch * window_tokens(sam)
        side = self.resolution or (window if self.form == "C" else sam.resolution)
        if self.form == "C" and side != window:
            raise ConfigError(
                f"pretext.resolution: form C shows one attention window, {window} pixels for these "
                f"weights, not {side}; leave `resolution` out, or take form A or B"
            )
        if side % window:
            raise ConfigError(
                f"pretext.resolution: {side} is not a multiple of the attention window of {window} "
                f"pixels; use e.g. {window} or {2 * window}"
            )
        return Shown(side=side, single=self.form == "C")

    def fit(
        self,
        sam: Sam,
        pool: Pictures,
        held_out: Pictures,
        work: Path,
        report: Report | None = None,
    ) -> TrunkState:
        """The trunk with the least held-out loss; the last one if nothing is held out."""
        from salearn.models.pretexts.fitting import fit  # settings alone need no training code

        return fit(self, sam, pool, held_out, work, report)

    def steps(self, pictures: int) -> int:
        """Iterations, by `iterations` and `epochs`."""
        return min(self.iterations, -(-self.epochs * pictures // self.batch))
