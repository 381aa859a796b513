"""What can be named, and whether this installation is sound."""

from __future__ import annotations

from typing import Annotated

import typer

from loops.verbs.common import Json, print_json


def add(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command(name="list")(list_names)
    app.command()(doctor)


def list_names(
    kind: Annotated[
        str, typer.Argument(help="strategies, hosts, arms, pretexts, backbones, datasets, filters.")
    ],
    as_json: Json = False,
) -> None:
    """What can be named in a config."""
    from loops.catalog import catalog

    rows = catalog(kind)
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            print(f"{row['name']:<20}{row['summary']}")


def doctor(as_json: Json = False) -> None:
    """Check this installation: versions, torch, Ray, disk, neighbors."""
    from loops.doctor import examine

    findings = examine()
    if as_json:
        print_json(findings)
    else:
        for row in findings:
            print(f"{'ok' if row['ok'] else 'FAULT':<6}{row['what']}: {row['found']}")
            if not row["ok"]:
                print(f"      -> {row['remedy']}")
    if not all(row["ok"] for row in findings):
        raise typer.Exit(1)
