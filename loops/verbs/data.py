"""Look at data sets, or make one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loops.verbs.common import Json, print_json


def add(app: typer.Typer) -> None:
    """Register `data` with its own verbs."""
    data = typer.Typer(help="Look at data sets, or make one.", no_args_is_help=True)
    data.command()(check)
    data.command()(phantom)
    app.add_typer(data, name="data")


def check(
    path: Path,
    images: Annotated[str | None, typer.Option(help="Folder format: pattern of images.")] = None,
    masks: Annotated[str | None, typer.Option(help="Folder format: pattern with {case}.")] = None,
    as_json: Json = False,
) -> None:
    """List every case and every defect of a data set, with the file and what to do."""
    from salearn.data.checks import check as check_data
    from salearn.data.checks import render
    from salearn.data.formats import DataSource

    found = check_data(DataSource(root=str(path), images=images, masks=masks))
    if as_json:
        print_json(found.to_json())
    else:
        print(render(found))
    if not found.ok:
        raise typer.Exit(1)


def phantom(
    out: Path,
    cases: Annotated[int, typer.Option(help="Volumes with a mask.", min=1)] = 40,
    unlabeled: Annotated[int, typer.Option(help="Further volumes without a mask.")] = 0,
    seed: int = 0,
    as_json: Json = False,
) -> None:
    """Write a data set of phantom volumes with masks (NIfTI, MSD layout)."""
    from salearn.data.phantoms import PhantomSettings, write_phantoms

    write_phantoms(out, cases, PhantomSettings(seed=seed, unlabeled=unlabeled))
    if as_json:
        print_json({"root": str(out), "cases": cases, "unlabeled": unlabeled})
    else:
        print(f"{cases} cases with masks and {unlabeled} without in {out}")
