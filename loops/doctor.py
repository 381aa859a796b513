"""Findings about this installation, for `salearn doctor`."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

NEEDED = (
    "torch", "transformers", "peft", "monai", "faiss-cpu", "scikit-learn", "numpy", "nibabel",
    "tensorboard", "ray",
)  # fmt: skip
MIN_DISK_GB = 2.0

Finding = dict[str, Any]


def examine() -> list[Finding]:
    """Rows {what, found, ok, remedy}; a check that breaks is a finding, not a crash."""
    checks: list[Callable[[], Finding]] = [
        _python,
        _torch,
        _torchvision,
        _ray_root,
        _disk,
        _threads,
    ]
    return [_package(name) for name in NEEDED] + [check() for check in checks]


def _finding(what: str, found: object, ok: bool, remedy: str = "") -> Finding:
    return {"what": what, "found": str(found), "ok": ok, "remedy": remedy}


def _package(name: str) -> Finding:
    try:
        return _finding(name, version(name), True)
    except PackageNotFoundError:
        extra = "[tune]" if name == "ray" else ""
        return _finding(name, "missing", False, f"pip install -c constraints.txt -e '.{extra}'")


def _python() -> Finding:
    return _finding("python", sys.version.split()[0], sys.version_info >= (3, 11), "use >= 3.11")


def _torch() -> Finding:
    try:
        import torch
    except ImportError as error:
        return _finding("torch device", error, False, "pip install torch, see README")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return _finding("torch device", device, True)


def _torchvision() -> Finding:
    """A torchvision built for another torch breaks transformers' SAM3 on import."""
    try:
        importlib.import_module("torchvision")
    except ImportError:
        return _finding("torchvision", "not installed (not needed)", True)
    except RuntimeError as error:
        return _finding("torchvision", error, False, "pip uninstall torchvision")
    return _finding("torchvision", "works", True)


def _ray_root() -> Finding:
    root = tempfile.gettempdir()
    return _finding("TMPDIR for Ray", root, len(root) <= 40, "set TMPDIR=/tmp: sockets need <= 40")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    return _finding("free disk here", f"{free:.1f} GB", free > MIN_DISK_GB, "free some space")


def _threads() -> Finding:
    return _finding("cores", os.cpu_count(), True)
