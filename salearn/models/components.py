"""The parts of SAM3: every parameter belongs to exactly one of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import nn

from salearn.errors import WeightsError

# Prefixes of parameter paths of transformers' Sam3Model; the longest that fits decides.
COMPONENTS: Mapping[str, tuple[str, ...]] = {
    "vision_trunk": ("vision_encoder.backbone",),
    "neck": ("vision_encoder.neck",),
    "text": ("text_encoder", "text_projection"),
    "geometry": ("geometry_encoder",),
    "fusion_encoder": ("detr_encoder",),
    "decoder": ("detr_decoder",),
    "presence": (
        "detr_decoder.presence_token",
        "detr_decoder.presence_head",
        "detr_decoder.presence_layer_norm",
    ),
    "seg_head": ("mask_decoder",),
    "scoring": ("dot_product_scoring",),
}
# What the semantic path runs; the rest would get no gradient from a mask.
SEMANTIC = ("vision_trunk", "neck", "fusion_encoder", "seg_head")
_WRAPPED = re.compile(r"(^|\.)(base_model\.model|base_layer|original_module|wrapped)(?=\.|$)")
_SAVED = re.compile(r"\.modules_to_save\.[^.]+")


def component_of(name: str) -> str:
    """The component of a parameter path of `Sam3Model`, adapters and peft's wrappers included.

    Raises:
        WeightsError: no component claims it; transformers named its modules anew.
    """
    plain = _SAVED.sub("", _WRAPPED.sub("", name)).strip(".")
    plain = plain.removeprefix("model.")
    fits = [
        (len(prefix), component)
        for component, prefixes in COMPONENTS.items()
        for prefix in prefixes
        if plain == prefix or plain.startswith(prefix + ".")
    ]
    if not fits:
        raise WeightsError(
            f"SAM3 parameter '{name}' belongs to no known component "
            f"({', '.join(COMPONENTS)}); the installed transformers names its modules differently: "
            "use 5.12 to 5.x"
        )
    return max(fits)[1]


def count_by_component(
    parameters: Iterable[tuple[str, nn.Parameter]], trainable: bool = False
) -> dict[str, int]:
    """Parameters of each component, in the order of `COMPONENTS`; zeros are kept.

    Args:
        parameters: names and tensors, e.g. `model.named_parameters()`.
        trainable: count only those that ask for gradients.
    """
    counts = dict.fromkeys(COMPONENTS, 0)
    for name, parameter in parameters:
        if parameter.requires_grad or not trainable:
            counts[component_of(name)] += parameter.numel()
    return counts
