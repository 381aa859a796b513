"""Use a finished run, or the frozen encoder, on images."""

from __future__ import annotations

from pathlib import Path

import typer

from loops.verbs.common import Changes, Config, Json, print_json


def add(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command()(predict)
    app.command()(embed)


def predict(run: Path, images: list[Path], out: Path, as_json: Json = False) -> None:
    """Segment images with the student of a run's last round; SAM3 is not needed."""
    from loops.measuring.predict import predict_files

    files = predict_files(run, images, out)
    if as_json:
        print_json({"files": [str(file) for file in files]})
    else:
        print("\n".join(str(file) for file in files))


def embed(config: Config, changes: Changes = None, as_json: Json = False) -> None:
    """Embed every case of a data set with the frozen encoder, into the shared store."""
    from loops.config import load_run
    from loops.measuring.predict import embed_cases

    result = embed_cases(load_run(config, changes or ()))
    if as_json:
        print_json(result)
    else:
        print(f"{result['cases']} cases, {result['slices']} slices, {result['dim']} values each")
