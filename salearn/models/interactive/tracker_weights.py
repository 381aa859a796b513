"""Where weights of SAM3's tracker (clicks) come from: made, trained here, a folder, or the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch

from salearn.errors import ConfigError, WeightsError
from salearn.models.sam3_mini import mini_folder
from salearn.models.sam3_tiny import SamSize, initialise_modules, quiet, tiny_config
from salearn.models.sam3_weights import HUB, HUB_FILES, STEPS, check_torchvision
from salearn.settings import Field, dump, settings
from salearn.store import content_key, file_hash

TINY, MINI = "tiny", "mini"
FOLDER = Path(__file__).parent / "clicks"
WEIGHTS, RECORD = "clicks.safetensors", "recipe.json"
VISION = "vision_encoder."
# Of the maps that the neck of mini makes, measured. Divided by it, they do not drown the clicks.
MINI_SPREADS = (1.3, 12.0, 18.0)
HEADS = 2  # attention heads of the small mask decoder


@settings
class TrackerSettings:
    """Which SAM3 tracker answers clicks.

    Attributes:
        weights: "tiny" (random), a folder of transformers or of `benchmarks.train_clicks`,
            "facebook/sam3" (gated), or "mini" (vision trunk of salearn-mini with the clicks in the
            package, where there are any).
        revision: of the hub repository.
        resolution: side of the input, pixels; a multiple of the attention window (336 for SAM3, 32
            for tiny and mini). None = that of the weights (1008; 64).
        seed: of random weights.
        dtype: "bfloat16" only on CUDA.
    """

    weights: str = TINY
    revision: str = "3c879f39826c281e95690f02c7821c4de09afae7"
    resolution: int | None = Field(default=None, ge=1)
    seed: int = 0
    dtype: Literal["float32", "bfloat16"] = "float32"
    device: Literal["cpu", "cuda"] = "cpu"

    def __post_init__(self) -> None:
        if self.dtype == "bfloat16" and self.device == "cpu":
            raise ConfigError("interactive.tracker.dtype: bfloat16 is for cuda; use float32")


def build_tracker(given: TrackerSettings) -> Any:
    """A `Sam3TrackerModel` with the weights that the settings name.

    Raises:
        WeightsError: they cannot be had, are damaged or do not fit.
        ConfigError: the resolution is impossible.
    """
    check_torchvision()
    if given.weights == TINY:
        return made(given, tiny_config(SamSize()).vision_config)
    if given.weights == MINI:
        return _mini(given, FOLDER)
    folder = _fetched(given) if given.weights == HUB else Path(given.weights)
    if not folder.is_dir():
        raise WeightsError(
            f"interactive.tracker.weights: '{given.weights}' is neither '{MINI}', '{TINY}', "
            f"'{HUB}' nor a folder that exists"
        )
    return _mini(given, folder) if (folder / WEIGHTS).exists() else _loaded(folder, given)


def tracker_key(given: TrackerSettings) -> str:
    """Content key of the tracker: what its answers depend on."""
    values = {name: value for name, value in dump(given).items() if name != "device"}
    folders: dict[str, list[Path]] = {TINY: [], HUB: [], MINI: [FOLDER]}
    found = folders.get(given.weights, [Path(given.weights)])
    if any((folder / WEIGHTS).exists() for folder in found):
        found = [*found, mini_folder()]
    files = [file for folder in found for file in sorted(folder.glob("*.safetensors"))]
    return content_key("tracker", values, [file_hash(file) for file in files])


def made(given: TrackerSettings, vision: Any) -> Any:
    """A tracker of small width with random weights around a vision config."""
    from transformers import Sam3TrackerConfig, Sam3TrackerModel

    dim = vision.fpn_hidden_size
    config = Sam3TrackerConfig(
        vision_config=vision.to_dict(),
        prompt_encoder_config={
            "hidden_size": dim,
            "patch_size": vision.backbone_config.patch_size,
            "mask_input_channels": 16,
        },
        mask_decoder_config={
            "hidden_size": dim,
            "mlp_dim": 4 * dim,
            "num_attention_heads": HEADS,
            "attention_downsample_rate": 1,
            "iou_head_hidden_dim": dim,
            "dynamic_multimask_via_stability": False,  # one mask is trained, not four
        },
    )
    _set_resolution(config, given.resolution or 64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(given.seed)  # the random directions of point positions
        model = Sam3TrackerModel(config)
    initialise_modules(model, given.seed)
    _align(model)
    return model.to(getattr(torch, given.dtype))


def _align(model: Any) -> None:
    """Image and points speak of places in one way: the same directions, and queries like keys.

    So a click attends to where it is from the start; learning that takes long (ours).
    """
    with torch.no_grad():
        shared = model.shared_image_embedding.positional_embedding
        model.prompt_encoder.shared_embedding.positional_embedding.copy_(shared)
        for name, module in model.mask_decoder.transformer.named_modules():
            if name.endswith(("token_to_image", "image_to_token")):
                module.k_proj.weight.copy_(module.q_proj.weight)


def mini_frame(given: TrackerSettings) -> Any:
    """A tracker with the vision trunk of salearn-mini, and its neck with maps of one spread.

    All else is random.
    """
    from safetensors.torch import load_file
    from transformers import Sam3Config

    folder = mini_folder()
    config = Sam3Config.from_pretrained(str(folder), local_files_only=True)
    model = made(given, config.vision_config)
    stored = load_file(folder / "model.safetensors")
    vision = {name: value.float() for name, value in stored.items() if name.startswith("vision_")}
    _fill(model, vision, folder)
    with torch.no_grad():
        layers = model.vision_encoder.neck.fpn_layers
        for layer, spread in zip(layers, MINI_SPREADS, strict=False):
            layer.proj2.weight.div_(spread)
            layer.proj2.bias.div_(spread)
    return model


def trained_part(model: Any) -> dict[str, Any]:
    """What a click training changes, by name: everything but trunk and neck."""
    return {name: v for name, v in model.state_dict().items() if not name.startswith(VISION)}


def _mini(given: TrackerSettings, folder: Path) -> Any:
    """The trunk of salearn-mini with the clicks in a folder."""
    from safetensors.torch import load_file

    file = folder / WEIGHTS
    if not file.exists():
        raise WeightsError(
            f"interactive.tracker.weights: no clicks ship with this installation ({file} is "
            "missing); train some with `python -m benchmarks.train_clicks --out FOLDER` and name "
            "that folder, or use 'tiny' (random)"
        )
    model = mini_frame(given)
    try:
        stored = load_file(file)
    except Exception as error:  # safetensors raises its own kinds for damage
        raise WeightsError(f"{file}: damaged ({error}); copy it anew") from error
    missing = set(trained_part(model)) - set(stored)
    if missing:
        raise WeightsError(f"{file}: {min(missing)} is missing; it is of another tracker")
    _fill(model, {name: value.float() for name, value in stored.items()}, folder)
    return model.to(getattr(torch, given.dtype))


def _fill(model: Any, values: dict[str, Any], folder: Path) -> None:
    state = model.state_dict()
    strange = [name for name, v in values.items() if state.get(name, v[:0]).shape != v.shape]
    if strange:
        raise WeightsError(f"{folder}: {strange[0]} does not fit the tracker; is it of another?")
    with torch.no_grad():
        for name, value in values.items():
            state[name].copy_(value)


def _fetched(given: TrackerSettings) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(HUB, revision=given.revision, allow_patterns=HUB_FILES))
    # Gated, offline, no such revision, a full disk: many kinds, one list of steps.
    except Exception as error:
        steps = STEPS.replace("sam.weights", "interactive.tracker.weights")
        raise WeightsError(f"{HUB} could not be downloaded ({error}); {steps}") from error


def _loaded(folder: Path, given: TrackerSettings) -> Any:
    from transformers import Sam3TrackerModel

    try:
        config = _config(folder)
        _set_resolution(config, given.resolution or config.vision_config.image_size)
        with quiet():
            model, info = Sam3TrackerModel.from_pretrained(
                str(folder),
                config=config,
                local_files_only=True,
                output_loading_info=True,
                dtype=getattr(torch, given.dtype),
                ignore_mismatched_sizes=True,  # reported in `info`, and refused below by name
            )
    except ConfigError:
        raise
    # safetensors, json and transformers each raise their own kinds for a damaged folder.
    except Exception as error:
        raise WeightsError(
            f"{folder}: weights of SAM3's tracker cannot be read ({type(error).__name__}: {error})"
            "; the folder needs config.json and model.safetensors of SAM3, complete"
        ) from error
    for kind in ("missing_keys", "mismatched_keys"):
        keys = sorted(str(key[0] if isinstance(key, tuple) else key) for key in info[kind])
        if keys:
            raise WeightsError(
                f"{folder}: the checkpoint does not fit SAM3's tracker: {len(keys)} "
                f"{kind.replace('_', ' ')}, e.g. {', '.join(keys[:3])}; use a complete checkpoint "
                "(that of SAM3 holds detector and tracker)"
            )
    return model


def _config(folder: Path) -> Any:
    """That of a tracker, or the tracker's part of the whole checkpoint."""
    from transformers import AutoConfig, Sam3TrackerConfig

    config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
    if isinstance(config, Sam3TrackerConfig):
        return config
    part, whole = getattr(config, "tracker_config", None), getattr(config, "detector_config", None)
    if part is None or whole is None:
        raise WeightsError(f"{folder}: config.json is not that of SAM3 or of its tracker")
    return Sam3TrackerConfig(
        vision_config=whole.vision_config.to_dict(),
        prompt_encoder_config=part.prompt_encoder_config.to_dict(),
        mask_decoder_config=part.mask_decoder_config.to_dict(),
    )


def _set_resolution(config: Any, side: int) -> None:
    """Write the input size where the parts of the tracker look for it.

    Raises:
        ConfigError: not a multiple of the attention window.
    """
    backbone = config.vision_config.backbone_config
    step = backbone.patch_size * backbone.window_size
    if side % step:
        raise ConfigError(
            f"interactive.tracker.resolution: {side} is not a multiple of the attention window of "
            f"{step} pixels; use e.g. {step}, {2 * step} or {3 * step}"
        )
    tokens = side // backbone.patch_size
    config.vision_config.image_size = side
    config.vision_config.backbone_feature_sizes = [[tokens * k, tokens * k] for k in (4, 2, 1)]
    config.prompt_encoder_config.image_size = side
