"""Say what a config will cost, before it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from loops.verbs.common import Changes, Config, Json, print_json


def add(app: typer.Typer) -> None:
    """Register the verb."""
    app.command()(plan)


def plan(
    config: Config,
    changes: Changes = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Take a few steps on sam.device, random weights.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Parameters, FLOPs, memory, trainings and hours of a config or study; nothing is trained."""
    from loops.config import parse_run
    from loops.plan import plan_run, render
    from loops.studies.study import load_study
    from loops.sweep import plan as plan_study
    from salearn.config import read_yaml

    study = load_study(config, changes or ()) if "study" in read_yaml(config) else None
    if study is None:
        from loops.config import load_run

        run = load_run(config, changes or ())
    else:
        run = parse_run(study.cells[0].values, str(config))
    found = plan_run(run, run.build_arm(), measure)
    if study is not None:
        # Cells of other kinds may cost more or less; the first stands for the model's size.
        found["study"] = plan_study(study)
    if as_json:
        print_json(found)
    else:
        print(render(found))
        if study is not None:
            hours = found["study"]["expected"]["core_hours"]
            told = "unknown" if hours is None else f"{hours:.2f}"
            print(f"study: {len(study.cells)} cells, core-hours of those to run: {told}")
