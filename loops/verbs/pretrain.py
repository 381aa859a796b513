"""Pretrain a small SAM3 on generated scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loops.verbs.common import Changes, Json, print_json

Recipe = Annotated[Path, typer.Argument(help="A recipe, e.g. configs/pretrain_mini.yaml.")]


def add(app: typer.Typer) -> None:
    """Register the verb."""
    app.command()(pretrain)


def pretrain(
    recipe: Recipe,
    changes: Changes = None,
    out: Annotated[Path, typer.Option(help="Folder of checkpoint, log and weights.")] = Path(
        "runs/mini"
    ),
    steps: Annotated[int | None, typer.Option(help="Instead of the recipe's.", min=1)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")] = False,
    export: Annotated[
        bool, typer.Option("--export", help="Only write the weights of the last checkpoint.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a small SAM3 on generated scenes; `sam.weights=OUT/mini` uses what comes out."""
    import torch

    from loops.pretraining import run as stage
    from loops.pretraining.recipe import PretrainSettings
    from loops.progress import Progress
    from loops.stitch import Stitcher, StitchSettings
    from salearn.config import load

    def stitcher(single: bool, tile: int, axis: int) -> Stitcher:
        policy = StitchSettings(policy="single")
        return Stitcher(policy if single else StitchSettings(tile=(tile, tile), fit="crop"), axis)

    torch.set_num_threads(1)  # the same numbers on every machine of a kind, and no slower
    given = load(
        PretrainSettings, recipe, [*(changes or ()), *([f"steps={steps}"] if steps else [])]
    )
    if export:
        result = stage.export(given, out)
    else:
        with Progress().stage("pretrain") as report:
            result = stage.pretrain(given, stitcher, out, resume, report)
    if as_json:
        print_json(result)
    else:
        print(f"{result['parameters']:,} parameters, {result['steps_done']} steps")
        print(f"use it: sam.weights={result['folder']}")
