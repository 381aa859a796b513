"""Look at data sets, or make one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from loops.verbs.common import Json, print_json


def add(app: typer.Typer) -> None:
    """Register `data` with its own verbs."""
    data = typer.Typer(help="Look at data sets, or make one.", no_args_is_help=True)
    data.command()(check)
    data.command()(phantom)
    data.command()(phantom4d)
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

    if (path / "phases.json").exists():
        from salearn.data.phases import PhaseSource
        from salearn.data.phases_check import check_phases

        found = check_phases(PhaseSource(root=str(path), images=images, masks=masks))
    else:
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
    kind: Annotated[
        Literal["volumes", "ultrasound"], typer.Option(help="NIfTI volumes, or PNG pictures.")
    ] = "volumes",
    external: Annotated[
        int, typer.Option(help="Ultrasound: pictures of other machines, in OUT/external.", min=0)
    ] = 0,
    seed: int = 0,
    as_json: Json = False,
) -> None:
    """Write a data set of phantoms with masks (MSD layout): MR-like volumes or ultrasound."""
    from salearn.data.phantoms import PhantomSettings, write_phantoms
    from salearn.data.ultrasound import UltrasoundSettings, write_ultrasound
    from salearn.errors import ConfigError

    if kind == "ultrasound":
        given = UltrasoundSettings(seed=seed, unlabeled=unlabeled, external=external)
        write_ultrasound(out, cases, given)
    elif external:
        raise ConfigError("--external: only phantoms of --kind ultrasound have other machines")
    else:
        write_phantoms(out, cases, PhantomSettings(seed=seed, unlabeled=unlabeled))
    if as_json:
        wrote = {"root": str(out), "cases": cases, "unlabeled": unlabeled}
        print_json(wrote | ({"kind": kind, "external": external} if kind != "volumes" else {}))
    else:
        print(f"{cases} cases with masks and {unlabeled} without in {out}")


def phantom4d(
    out: Path,
    cases: Annotated[int, typer.Option(help="Patients.", min=1)] = 10,
    phases: Annotated[int, typer.Option(help="Of a breath.", min=2)] = 10,
    kind: Annotated[
        Literal["cyclic", "amplitude"], typer.Option(help="Bins of equal time, or of depth.")
    ] = "cyclic",
    layout: Annotated[
        Literal["folder", "4d"], typer.Option(help="A file for each phase, or one 4-D file.")
    ] = "folder",
    annotated: Annotated[
        Literal["all", "some", "one"], typer.Option(help="Phases with a mask.")
    ] = "all",
    seed: int = 0,
    as_json: Json = False,
) -> None:
    """Write breathing thoraxes (lungs, heart, tumour) as 4-D CT with exact masks and motion."""
    from salearn.data.phantom4d import Phantom4dSettings, write_phantom4d

    given = Phantom4dSettings(
        seed=seed, phases=phases, kind=kind, layout=layout, annotated=annotated
    )
    write_phantom4d(out, cases, given)
    if as_json:
        print_json({"root": str(out), "cases": cases, "phases": list(given.names), "kind": kind})
    else:
        print(f"{cases} patients with {phases} phases each ({kind}) in {out}")
