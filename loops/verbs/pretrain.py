"""Pretrain a small SAM3 on generated scenes, or the trunk of a run's SAM3 on its own images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from loops.verbs.common import Changes, Json, print_json

Recipe = Annotated[
    Path,
    typer.Argument(help="A recipe, e.g. configs/pretrain_mini.yaml; with --pretext a run config."),
]
MINI_OUT = Path("runs/mini")


def add(app: typer.Typer) -> None:
    """Register the verb."""
    app.command()(pretrain)


def pretrain(
    recipe: Recipe,
    changes: Changes = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of checkpoint, log and weights; with --pretext of the report."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Instead of the recipe's.", min=1)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")] = False,
    export: Annotated[
        bool, typer.Option("--export", help="Only write the weights of the last checkpoint.")
    ] = False,
    pretext: Annotated[
        bool,
        typer.Option("--pretext", help="Train the trunk as a run or study says; tell its drift."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a small SAM3 on generated scenes; `sam.weights=OUT/mini` uses what comes out.

    With --pretext: the vision trunk of a run's SAM3 on the images of its pool (`pretext` of the
    config), found by the run afterwards, and how far it has moved.
    """
    import torch

    torch.set_num_threads(1)  # the same numbers on every machine of a kind, and no slower
    if pretext:
        if steps or resume or export:
            raise typer.BadParameter(
                "--pretext takes no --steps, --resume or --export: say pretext.iterations=...; "
                "the same command goes on where it was"
            )
        _pretext(recipe, changes or [], out, as_json)
    else:
        _mini(recipe, changes or [], out or MINI_OUT, steps, resume, export, as_json)


def _mini(
    recipe: Path,
    changes: list[str],
    out: Path,
    steps: int | None,
    resume: bool,
    export: bool,
    as_json: bool,
) -> None:
    from loops.pretraining import run as stage
    from loops.pretraining.recipe import PretrainSettings
    from loops.progress import Progress
    from loops.stitch import Stitcher, StitchSettings
    from salearn.config import load

    def stitcher(single: bool, tile: int, axis: int) -> Stitcher:
        policy = StitchSettings(policy="single")
        return Stitcher(policy if single else StitchSettings(tile=(tile, tile), fit="crop"), axis)

    given = load(PretrainSettings, recipe, [*changes, *([f"steps={steps}"] if steps else [])])
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


def _pretext(path: Path, changes: list[str], out: Path | None, as_json: bool) -> None:
    from loops.pretraining.alone import pretext_configs, run_pretext
    from loops.progress import Progress

    configs = pretext_configs(path, changes)
    found = []
    for number, config in enumerate(configs):
        folder = out or Path(f"{config.out}-pretext")
        if out is not None and len(configs) > 1:
            folder = out / f"trunk_{number}"
        found.append(run_pretext(config, folder, Progress()))
    if as_json:
        print_json({"trunks": found})
    else:
        print("\n\n".join(_told(one) for one in found))


def _told(found: dict[str, Any]) -> str:
    fit, drift = found["fit"], found["drift"]
    lines = [
        f"{found['pretext']}: {fit['iterations']} of {fit['planned']} iterations, trunk of "
        f"iteration {fit['kept_iteration']} kept in {found['folder']}"
    ]
    if fit["loss_before"] is not None:
        lines.append(f"held-out loss {fit['loss_before']:.4f} -> {fit['loss_after']:.4f}")
    if drift["images"]:
        lines.append(
            f"drift on {drift['images']} held-out images: linear CKA {drift['cka']:.4f}, "
            f"relative L2 {drift['relative_l2']:.4f}"
        )
    for split, dice in found["zero_shot"].items():
        lines.append(f"zero-shot Dice, {split}: {dice['before']:.4f} -> {dice['after']:.4f}")
    if found["transductive"]:
        lines.append("TRANSDUCTIVE: images that are scored were learned from")
    return "\n".join(lines)
