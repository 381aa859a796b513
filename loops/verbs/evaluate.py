"""Score predicted label files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from loops.verbs.common import Json, print_json


def add(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command()(evaluate)


def evaluate(
    prediction: Path,
    reference: Path,
    directed: Annotated[
        bool, typer.Option("--directed", help="Also ASD of each direction.")
    ] = False,
    surfel: Annotated[bool, typer.Option("--surfel", help="Also HD95 and NSD by area.")] = False,
    parity: Annotated[
        bool, typer.Option("--parity", help="Also HD95 and ASD in voxels, as UA-MT and SFR print.")
    ] = False,
    tolerance: Annotated[float, typer.Option(help="Of the NSD, in mm.", min=0)] = 2.0,
    empty: Annotated[
        Literal["diag", "inf", "nan"],
        typer.Option(help="Distance if one mask is empty: image diagonal, infinity or NaN."),
    ] = "diag",
    as_json: Json = False,
) -> None:
    """Score predicted label files against reference masks (two files or two folders).

    In JSON, what is undefined or infinite is null; the status of a row says why.
    """
    from loops.measuring.evaluate import evaluate_files, render
    from salearn.metrics.surface import SurfaceSettings
    from salearn.store import finite

    how = SurfaceSettings(
        tolerance_mm=tolerance, empty=empty, directed=directed, surfel=surfel, parity=parity
    )
    result = evaluate_files(prediction, reference, how)
    if as_json:
        print_json(finite(result))
    else:
        print(render(result))
