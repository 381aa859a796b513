"""What can be named in a config, for `salearn list`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module

from salearn.errors import ConfigError
from salearn.settings import nearest

Rows = list[dict[str, str]]


def catalog(kind: str) -> Rows:
    """Rows {name, summary, source} of one kind.

    Raises:
        ConfigError: unknown kind; the nearest one is named.
    """
    kinds: dict[str, Callable[[], Rows]] = {
        "strategies": partial(_plugins, "strategies", "STRATEGIES"),
        "hosts": partial(_plugins, "loops.ssl", "HOSTS"),
        "arms": partial(_plugins, "salearn.models.arms", "ARMS"),
        "pretexts": partial(_plugins, "salearn.models.pretexts", "PRETEXTS"),
        "backbones": _backbones,
        "datasets": _datasets,
        "filters": _filters,
    }
    if kind not in kinds:
        raise ConfigError(f"list: unknown kind '{kind}': {nearest(kind, kinds)}")
    return kinds[kind]()


def _plugins(package: str, registry: str) -> Rows:
    """Read from the files where they tell: importing the classes takes seconds, mostly torch."""
    from salearn.plugin_source import rows_from_source

    rows = rows_from_source(package)
    if rows is None:
        rows = getattr(import_module(f"{package}.registry"), registry).describe()
    return rows


def _filters() -> Rows:
    from salearn.motion.filters import FILTERS

    source = "filters of `salearn itv`; component and soft forms are reconstructions"
    return [{"name": name, "summary": words, "source": source} for name, words in FILTERS.items()]


def _backbones() -> Rows:
    return [
        {
            "name": "mini",
            "summary": "a small SAM3 pretrained on generated scenes, in the package",
            "source": "sam.weights",
        },
        {
            "name": "tiny",
            "summary": "SAM3's architecture at CPU size, random",
            "source": "sam.weights",
        },
        {
            "name": "facebook/sam3",
            "summary": "SAM3 (gated weights), pinned",
            "source": "sam.weights",
        },
        {"name": "PATH", "summary": "a folder of saved Sam3Model weights", "source": "sam.weights"},
    ]


def _datasets() -> Rows:
    return [
        {"name": "msd", "summary": "MSD/MONAI datalist, dataset.json", "source": "data.format"},
        {"name": "nnunet", "summary": "nnU-Net raw v2", "source": "data.format"},
        {"name": "folder", "summary": "image/mask pairs by pattern", "source": "data.format"},
        {"name": "phantom", "summary": "made where data.root is not set", "source": "data.phantom"},
    ]
