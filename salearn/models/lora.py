"""LoRA on SAM3 through peft: named target sets, checks of what was adapted, exact counts."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from salearn.errors import ConfigError, WeightsError
from salearn.models.arms.blocks import first_block, without_first
from salearn.models.arms.tensors import of_modules, presence_heads
from salearn.models.sam3 import Sam
from salearn.settings import Field, nearest, settings

_VIT = r"vision_encoder\.backbone\.layers\.\d+\."
_DETR = r"detr_encoder\.layers\.\d+\."
_DETR_ATTENTION = _DETR + r"(self|cross)_attn\.[qkvo]_proj"
_DETR_ALL = _DETR_ATTENTION + "|" + _DETR + r"mlp\.fc[12]"
# The DETR decoder is in no set: the semantic path does not run it, so it would never be trained.
TARGETS = {
    "vit_qv": _VIT + r"attention\.[qv]_proj",
    "vit_attention": _VIT + r"attention\.[qkvo]_proj",
    "vit_all": _VIT + r"(attention\.[qkvo]_proj|mlp\.fc[12])",
    "vit_detr_attention": _VIT + r"attention\.[qkvo]_proj|" + _DETR_ATTENTION,
    "vit_detr_all": _VIT + r"(attention\.[qkvo]_proj|mlp\.fc[12])|" + _DETR_ALL,
    "detr_all": _DETR_ALL,
}
# Adapted layers in each ViT block and in each layer of the DETR encoder.
PER_BLOCK = {
    "vit_qv": (2, 0),
    "vit_attention": (4, 0),
    "vit_all": (6, 0),
    "vit_detr_attention": (4, 8),
    "vit_detr_all": (6, 10),
    "detr_all": (0, 10),
}
CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"


@settings
class LoraSettings:
    """LoRA on some layers, and modules that are trained in full beside it.

    Attributes:
        rank, alpha: the update of a layer is alpha / rank * B A.
        targets: a named set (vit_qv, vit_attention, vit_all, vit_detr_attention, vit_detr_all,
            detr_all), or a regular expression that must match whole module paths.
        train_modules: modules trained in full beside it, e.g. mask_decoder, neck.
    """

    RATES: ClassVar[tuple[float, float, float]] = (1e-4, 3e-4, 1e-3)
    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: str = "vit_detr_all"
    train_modules: tuple[str, ...] = ("mask_decoder", "neck")

    def adapt(self, sam: Sam, seed: int) -> Sam:
        """A twin of the base with a fresh adapter."""
        return adapt(sam, self, seed)


def adapt(sam: Sam, given: LoraSettings, seed: int, last: int | None = None) -> Sam:
    """A twin of the base with a fresh adapter; only the adapter asks for gradients.

    A fresh adapter changes nothing (B = 0). The base is left as it is.

    Args:
        last: blocks of the vision trunk that may be adapted, from its end; None = all.

    Raises:
        ConfigError: a target or module does not exist; the message gives the nearest name.
        ValueError: `sam` has an adapter already.
    """
    from peft import LoraConfig

    _check_bare(sam)
    pattern = without_first(TARGETS.get(given.targets, given.targets), sam, last)
    expected = _targeted(sam, given.targets, pattern)
    _check_count(sam, given.targets, len(expected), last)
    of_modules(sam, given.train_modules, "lora.train_modules")  # refuses a name that is not there
    config = LoraConfig(
        r=given.rank,
        lora_alpha=given.alpha,
        lora_dropout=given.dropout,
        target_modules=pattern,
        modules_to_save=[*given.train_modules, *presence_heads(sam)] or None,
        bias="none",
    )
    adapted = _wrapped(sam, config, seed)
    found = set(adapted.adapter.targeted_module_names)  # type: ignore[union-attr]
    if found != set(expected):
        lost = sorted(set(expected) ^ found)
        raise ConfigError(f"lora.targets: peft did not adapt what was asked for, e.g. {lost[:3]}")
    return adapted


def save_adapter(sam: Sam, folder: Path) -> None:
    """Write the adapter in peft's own format: adapter_config.json, adapter_model.safetensors."""
    if sam.adapter is None:
        raise ValueError("this SAM3 has no adapter to save")
    folder.mkdir(parents=True, exist_ok=True)
    sam.adapter.save_pretrained(str(folder), save_embedding_layers=False)


def load_adapter(sam: Sam, folder: Path) -> Sam:
    """A frozen twin of the base with a saved adapter.

    Raises:
        ValueError: `sam` has an adapter already.
        WeightsError: files are missing or damaged, or the adapter is of another base.
    """
    from peft import LoraConfig, set_peft_model_state_dict
    from safetensors.torch import load_file

    _check_bare(sam)
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).exists():
            raise WeightsError(f"{folder}: no {name}; it is not the folder of a saved adapter")
    try:
        config = LoraConfig.from_pretrained(str(folder))
        config.base_model_name_or_path = None
        state = load_file(folder / WEIGHTS_FILE)
        adapted = _wrapped(sam, config, seed=0)
        _check_keys(folder, adapted, set(state))
        set_peft_model_state_dict(adapted.adapter, state)
    except WeightsError:
        raise
    # json, safetensors, peft and torch raise their own kinds for damage and misfit.
    except Exception as error:
        raise WeightsError(
            f"{folder}: the adapter cannot be loaded ({type(error).__name__}: {error}); it is "
            f"damaged or was trained on another base than '{sam.settings.weights}'"
        ) from error
    adapted.requires_grad_(False)
    return adapted.eval()


def load_into(sam: Sam, folder: Path) -> None:
    """Give a fresh adapter the weights of a saved one, so that its training can go on.

    Raises:
        ValueError: `sam` has no adapter.
        WeightsError: files are missing, or the saved adapter has other layers or another rank.
    """
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    if sam.adapter is None:
        raise ValueError("this SAM3 has no adapter to give weights to")
    if not (folder / WEIGHTS_FILE).exists():
        raise WeightsError(f"{folder}: no {WEIGHTS_FILE}; it is not the folder of a saved adapter")
    state = load_file(folder / WEIGHTS_FILE)
    _check_keys(folder, sam, set(state))
    try:
        set_peft_model_state_dict(sam.adapter, state)
    except RuntimeError as error:
        raise WeightsError(f"{folder}: the adapter is of another shape ({error})") from None


def trainable(sam: Sam) -> dict[str, nn.Parameter]:
    """Trained parameters by name: the adapter and the modules that are trained in full."""
    return {name: p for name, p in sam.named_parameters() if p.requires_grad}


def describe(sam: Sam) -> dict[str, Any]:
    """Exact counts for the run record; never a bare percentage.

    `base_parameters` counts the whole SAM3 with its text tower, without any adapter.
    """
    if sam.adapter is None:
        return {"base_parameters": sam.base_parameters, "adapted_modules": 0}
    counts = {"lora_": 0, "modules_to_save": 0}
    for name, parameter in sam.named_parameters():
        for part in counts:
            counts[part] += parameter.numel() if part in name else 0
    config = sam.adapter.peft_config["default"]
    return {
        "base_parameters": sam.base_parameters,
        "adapted_modules": len(sam.adapter.targeted_module_names),
        "lora_parameters": counts["lora_"],
        "full_modules": sorted(config.modules_to_save or ()),
        "full_parameters": counts["modules_to_save"],
        "trainable_parameters": sum(p.numel() for p in trainable(sam).values()),
        "rank": config.r,
        "alpha": config.lora_alpha,
    }


def _check_bare(sam: Sam) -> None:
    if sam.adapter is not None or sam.arm is not None:
        raise ValueError("this SAM3 has an adapter already: adapt the bare base")


def _wrapped(sam: Sam, config: Any, seed: int) -> Sam:
    from peft import get_peft_model

    twin = sam.twin()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # peft asks transformers by an older name; nothing a user could do.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        torch.manual_seed(seed)
        twin._adapter = [get_peft_model(twin.model, config)]
    return twin


def _targeted(sam: Sam, targets: str, expression: str) -> list[str]:
    """Names of the layers that a target set means, by the regular expression it stands for."""
    modules = dict(sam.model.named_modules())
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise ConfigError(f"lora.targets: '{targets}' is no regular expression: {error}") from None
    found = [name for name in modules if pattern.fullmatch(name)]
    if not found:
        layers = [n for n, m in modules.items() if isinstance(m, nn.Linear)]
        raise ConfigError(
            f"lora.targets: '{targets}' is no target set ({nearest(targets, TARGETS)}) and matches "
            f"no module path of SAM3; paths look like {layers[0]}, and the nearest to it: "
            f"{nearest(targets.replace(chr(92), ''), layers)[:200]}"
        )
    wrong = [name for name in found if not isinstance(modules[name], nn.Linear | nn.Conv2d)]
    if wrong:
        raise ConfigError(
            f"lora.targets: '{targets}' also matches {wrong[0]}, which is not a linear layer; make "
            "the expression narrower, or name whole modules in lora.train_modules"
        )
    return found


def _check_count(sam: Sam, targets: str, found: int, last: int | None) -> None:
    if targets not in PER_BLOCK:
        return
    blocks = (len(sam.backbone.layers) - first_block(sam, last), len(sam.model.detr_encoder.layers))
    expected = sum(n * per for n, per in zip(blocks, PER_BLOCK[targets], strict=True))
    if found != expected:
        raise ConfigError(
            f"lora.targets: '{targets}' matches {found} layers where this SAM3 should have "
            f"{expected}; the installed transformers names its modules differently: use 5.12 to 5.x"
        )


def _check_keys(folder: Path, adapted: Sam, stored: set[str]) -> None:
    from peft import get_peft_model_state_dict

    expected = set(get_peft_model_state_dict(adapted.adapter, save_embedding_layers=False))
    for kind, keys in (("missing", expected - stored), ("unexpected", stored - expected)):
        if keys:
            raise WeightsError(
                f"{folder / WEIGHTS_FILE}: {len(keys)} {kind} tensors, e.g. {sorted(keys)[0]}; the "
                "adapter is damaged or of another base"
            )


def adapter_settings(folder: Path) -> dict[str, Any]:
    """The config that peft stored with an adapter."""
    stored: dict[str, Any] = json.loads((folder / CONFIG_FILE).read_text())
    return stored
