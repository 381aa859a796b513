"""Where the benchmarks are: they lie beside the packages in a checkout and are not installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from salearn.errors import ConfigError
from salearn.settings import nearest


def checkout() -> Path:
    """The folder that holds `benchmarks/`.

    Raises:
        ConfigError: salearn was installed without its checkout.
    """
    root = Path(__file__).resolve().parents[1]
    if not (root / "benchmarks" / "__main__.py").is_file():
        raise ConfigError(
            f"bench: {root} has no folder 'benchmarks'; it is not part of the installed package: "
            "clone the repository, and there run 'make bench', or 'pip install -e .' and "
            "'salearn bench'"
        )
    return root


def bench_names() -> list[str]:
    """The benchmarks that there are.

    Raises:
        ConfigError: there is no checkout.
    """
    folder = checkout() / "benchmarks"
    return sorted(path.stem.removeprefix("bench_") for path in folder.glob("bench_*.py"))


def run_benches(names: Sequence[str], as_json: bool) -> int:
    """Run some benchmarks, or all; their table or JSON goes to standard output. The exit code.

    Raises:
        ConfigError: there is no checkout, or a name is unknown (the nearest one is named).
    """
    root, known = checkout(), bench_names()
    for name in names:
        if name not in known:
            raise ConfigError(f"bench: unknown benchmark '{name}': {nearest(name, known)}")
    command = [sys.executable, "-m", "benchmarks", *names, *(["--json"] if as_json else [])]
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(command, cwd=root, env=os.environ | {"PYTHONPATH": path}).returncode
