"""Where SAM3 weights come from: shipped (mini), made (tiny), a folder, or the hub (pinned)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from salearn.errors import ConfigError, WeightsError
from salearn.models.sam3_mini import MINI, mini_folder
from salearn.models.sam3_prompts import Tokenizer, WordTokenizer, read_tokenizer
from salearn.models.sam3_tiny import initialise, quiet, tiny_config

if TYPE_CHECKING:
    from salearn.models.sam3 import SamSettings

TINY = "tiny"
DEFAULT = MINI  # what `sam.weights` is where nothing is said
HUB = "facebook/sam3"
HUB_FILES = ["*.json", "*.txt", "*.safetensors", "LICENSE*"]
STEPS = (
    f"get access once: (1) sign in at https://huggingface.co/{HUB} and accept the form, (2) wait "
    "for the approval, (3) `hf auth login` or set HF_TOKEN, (4) run again with a network "
    "connection; or name a folder that holds the weights (`sam.weights=/path`), or use "
    "`sam.weights=mini`"
)


def build_model(settings: SamSettings) -> tuple[Any, Tokenizer]:
    """`Sam3Model` with its text tower, and the tokenizer that belongs to it.

    Raises:
        WeightsError: the weights cannot be had, are damaged or do not fit the model.
        ConfigError: the resolution is impossible.
    """
    check_torchvision()
    if settings.weights == TINY:
        return _made(settings), WordTokenizer()
    folder = _fetched(settings) if settings.weights == HUB else weights_folder(settings.weights)
    model = _loaded(folder, settings)
    return model, read_tokenizer(folder, model.config.text_config.max_position_embeddings)


def weights_folder(weights: str) -> Path:
    """The folder that `sam.weights` means: a path, or where "mini" was installed.

    Raises:
        WeightsError: there is none.
    """
    if weights == MINI:
        return mini_folder()
    if not Path(weights).is_dir():
        raise WeightsError(
            f"sam.weights: '{weights}' is neither '{MINI}', '{TINY}', '{HUB}' nor a folder that "
            "exists; other hub repositories are not loaded"
        )
    return Path(weights).resolve()


def export_weights(settings: SamSettings, folder: Path) -> None:
    """Write model, config and tokenizer into a folder that `sam.weights` can name (tiny only)."""
    model, tokenizer = build_model(settings)
    if not isinstance(tokenizer, WordTokenizer):
        raise ConfigError("sam.weights: only 'tiny' weights can be exported")
    folder.mkdir(parents=True, exist_ok=True)
    with quiet():
        model.save_pretrained(str(folder))
    tokenizer.save(folder)


def check_torchvision() -> None:
    """transformers imports torchvision whenever it is installed; say so if it is broken.

    Raises:
        WeightsError: torchvision is installed for another torch.
    """
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except Exception as error:
        raise WeightsError(
            f"torchvision is installed but does not work with torch {torch.__version__} ({error}), "
            "and transformers cannot load SAM3 beside it: `pip uninstall torchvision` (it is not "
            "needed), or install the build that belongs to this torch"
        ) from error


def _made(settings: SamSettings) -> Any:
    from transformers import Sam3Model

    config = tiny_config()
    set_resolution(config, settings)
    with torch.random.fork_rng(devices=[]):
        model = _constructed(Sam3Model, config, settings)
    initialise(model, settings.seed)
    return model.to(getattr(torch, settings.dtype))


def _constructed(cls: Any, config: Any, settings: SamSettings) -> Any:
    config._attn_implementation = settings.attn
    return cls(config)


def _fetched(settings: SamSettings) -> Path:
    from huggingface_hub import snapshot_download

    try:
        path = snapshot_download(HUB, revision=settings.revision, allow_patterns=HUB_FILES)
    # Gated, offline, no such revision, a full disk: the client raises many kinds, and the
    # remedy is the same list of steps.
    except Exception as error:
        raise WeightsError(f"{HUB} could not be downloaded ({error}); {STEPS}") from error
    return Path(path)


def _loaded(folder: Path, settings: SamSettings) -> Any:
    from transformers import Sam3Config, Sam3Model

    _check_files(folder)
    try:
        config = Sam3Config.from_pretrained(str(folder), local_files_only=True)
        config = getattr(config, "detector_config", None) or config
        set_resolution(config, settings)
        with quiet():
            model, info = Sam3Model.from_pretrained(
                str(folder),
                config=config,
                local_files_only=True,
                output_loading_info=True,
                dtype=getattr(torch, settings.dtype),
                attn_implementation=settings.attn,
                ignore_mismatched_sizes=True,  # reported in `info`, and refused below by name
            )
    except ConfigError:
        raise
    # safetensors, json and transformers each raise their own kinds for a damaged folder.
    except Exception as error:
        raise WeightsError(
            f"{folder}: SAM3 weights cannot be read ({type(error).__name__}: {error}); the folder "
            "needs config.json and model.safetensors, complete: download them again"
        ) from error
    _check_complete(folder, info)
    return model


def _check_files(folder: Path) -> None:
    """transformers would look for a missing config on the network first."""
    for name in ("config.json", "*.safetensors"):
        if not any(folder.glob(name)):
            raise WeightsError(
                f"{folder}: {name} is missing; the folder needs config.json, model.safetensors and "
                "the tokenizer files of a SAM3 checkpoint"
            )


def _check_complete(folder: Path, info: dict[str, Any]) -> None:
    for kind in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        keys = sorted(str(key[0] if isinstance(key, tuple) else key) for key in info.get(kind, ()))
        if keys:
            raise WeightsError(
                f"{folder}: the checkpoint does not fit SAM3: {len(keys)} {kind.replace('_', ' ')}"
                f", e.g. {', '.join(keys[:3])}; use a complete SAM3 checkpoint"
            )


def set_resolution(config: Any, settings: SamSettings) -> None:
    """Write the input size into a config: it is fixed when the model is built.

    No weight depends on it.

    Raises:
        ConfigError: not a multiple of the attention window.
    """
    backbone = config.vision_config.backbone_config
    size = settings.resolution or backbone.image_size
    step = backbone.patch_size * backbone.window_size
    if size % step:
        raise ConfigError(
            f"sam.resolution: {size} is not a multiple of the attention window of {step} pixels; "
            f"use e.g. {step}, {2 * step} or {3 * step}"
        )
    config.image_size = size
