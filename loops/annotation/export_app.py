"""Write the MONAI Label app of a run."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from loops.annotation.serve import classes_of, strategy_names
from salearn.errors import ConfigError
from salearn.store import read_json, write_json, write_text

README = """MONAI Label app of the salearn run {run}

    pip install monailabel            # beside salearn, in the same environment
    salearn query {run} --n 5 --out worklist --copy
    monailabel start_server --app {out} --studies worklist/images

In the viewer (3D Slicer, OHIF): "next sample" follows the strategy that is chosen there; "worklist"
is what `salearn query` asked for. The model "student" draws a first mask. Submitted masks go to
worklist/images/labels/final; take them into the run with

    salearn annotate worklist --masks worklist/images/labels/final
    salearn run {run}/config.yaml
"""


def export_app(run: Path, out: Path) -> dict[str, Any]:
    """Write main.py, salearn.json and README.md of the app.

    Returns:
        {"out", "run", "strategies", "classes", "files"}.

    Raises:
        ConfigError: `run` is no run folder.
    """
    if not (run / "run.json").is_file():
        raise ConfigError(f"{run}: no run folder (it has no run.json); run `salearn run` first")
    written = {
        "run": str(run.resolve()),
        "dataset": read_json(run / "run.json")["factors"]["dataset"],
        "classes": classes_of(run),
        "strategies": strategy_names(run),
        "version": version("salearn"),
    }
    out.mkdir(parents=True, exist_ok=True)
    with (files("loops.annotation.app") / "main.py").open("rb") as source:
        write_text(out / "main.py", source.read().decode())
    write_json(out / "salearn.json", written)
    write_text(out / "README.md", README.format(run=run, out=out))
    shutil.rmtree(out / "next", ignore_errors=True)  # orders of an earlier export
    names = sorted(path.name for path in out.iterdir())
    return {
        "out": str(out), "run": written["run"], "strategies": written["strategies"],
        "classes": written["classes"], "files": names,
    }  # fmt: skip
