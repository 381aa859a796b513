"""A trunk with a decoder beside it: what of a picture is hidden, and what is answered."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn

from salearn.models.pretexts.decoder import LinearDecoder, TransformerDecoder
from salearn.models.pretexts.mae import Mae
from salearn.models.pretexts.patches import (
    balanced_keep,
    flat_patches,
    hidden_of,
    kept_places,
    patchify,
    random_hidden,
    reconstruction_loss,
    window_places,
)
from salearn.models.pretexts.trunk import hidden_tokens, kept_tokens, window_tokens
from salearn.models.sam3 import Sam

CHANNELS = 3


class Autoencoder(nn.Module):
    """What is fresh (decoder, stand-in for hidden patches) around a trunk that is not its own.

    Args:
        sam: with a trunk of its own, see `with_own_trunk`.
    """

    def __init__(self, sam: Sam, given: Mae) -> None:
        super().__init__()
        self.given = given
        self._sam = [sam]  # in a list: its parameters are not this module's
        self.rows = given.shown(sam).side // sam.patch
        self.window = window_tokens(sam)
        dim, values = int(sam.backbone.config.hidden_size), sam.patch**2 * CHANNELS
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(given.seed)
            if given.form == "A":
                self.stand_in = nn.Parameter(torch.randn(dim) * 0.02)
                self.linear = LinearDecoder(dim, values)
            else:
                self.decoder = TransformerDecoder(dim, values, given.decoder)
        self.to(sam.device)

    @property
    def sam(self) -> Sam:
        """The SAM3 whose trunk is trained."""
        return self._sam[0]

    def hide(self, count: int, generator: Generator) -> Tensor:
        """What is hidden in each picture: "b token" for A; what stays, "b window keep", else."""
        if self.given.form == "A":
            return random_hidden(count, self.rows**2, self.given.mask, generator)
        windows = (self.rows // self.window) ** 2
        return balanced_keep(count, windows, self.window**2, self.given.mask, generator)

    def forward(
        self, images: Float[Tensor, "b 3 side side"], masking: Tensor
    ) -> tuple[Float[Tensor, "b token values"], Bool[Tensor, "b token"]]:
        """Pixels of all patches, and which of them were hidden.

        Args:
            masking: as `hide` gives it.
        """
        backbone = self.sam.backbone
        if self.given.form == "A":
            tokens = hidden_tokens(backbone, images, masking, self.stand_in)
            return self.linear(tokens), masking
        places = window_places(self.rows, self.window).to(masking.device)
        kept = kept_places(masking, places)
        again = self.sam.settings.gradient_checkpointing
        tokens = kept_tokens(backbone, images, masking, again)
        return self.decoder(tokens, kept, self.rows), hidden_of(masking, places)

    def loss(
        self, images: Float[Tensor, "b 3 side side"], masking: Tensor
    ) -> tuple[Float[Tensor, ""], int]:
        """Reconstruction loss over hidden patches that show something, and how many these are."""
        predicted, hidden = self(images, masking)
        counted = hidden & self._shows(images)
        loss = reconstruction_loss(predicted, patchify(images, self.sam.patch), counted)
        return loss, int(counted.sum())

    def counted(
        self, images: Float[Tensor, "b 3 side side"], masking: Tensor
    ) -> Bool[Tensor, "b token"]:
        """Hidden patches that show something: the set M of the loss."""
        hidden = masking
        if self.given.form != "A":
            hidden = hidden_of(masking, window_places(self.rows, self.window))
        return hidden & self._shows(images)

    def _shows(self, images: Tensor) -> Tensor:
        return ~flat_patches(patchify(images, self.sam.patch), self.given.flat)
