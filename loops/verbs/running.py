"""Run cells and studies, and say how far they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from loops.verbs.common import Changes, Config, Json, print_json
from loops.verbs.report import report


def add(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command()(run)
    app.command()(sweep)
    app.command()(status)


def run(config: Config, changes: Changes = None, as_json: Json = False) -> None:
    """Run one cell: rounds of select, annotate, train, measure. Started again, it goes on."""
    from loops.cell import run_cell
    from loops.config import load_run

    result = run_cell(load_run(config, changes or ()))
    if as_json:
        print_json(result)
    else:
        print(f"{result['rounds']} rounds ({result['ran']} run now) in {result['out']}")
        print(f"curves while it trained: tensorboard --logdir {result['out']}/tensorboard")


def sweep(
    study: Config,
    changes: Changes = None,
    dry_run: Annotated[bool, typer.Option(help="Say what would run, and stop.")] = False,
    backend: Annotated[str | None, typer.Option(help="ray, serial or slurm.")] = None,
    address: Annotated[str | None, typer.Option(help="Of a running Ray cluster, or auto.")] = None,
    cell: Annotated[list[str] | None, typer.Option(help="Only the cell of this key.")] = None,
    submit: Annotated[
        bool, typer.Option("--submit/--write-only", help="Slurm: hand the arrays to sbatch.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run the cells of a study that are not done. Several sweeps at once share them."""
    from loops.studies.study import load_study
    from loops.sweep import plan, queue, sweep

    named = {"backend": backend, "address": address}
    given = [f"study.{key}={value}" for key, value in named.items() if value is not None]
    loaded = load_study(study, [*(changes or ()), *given])
    if dry_run:
        result = plan(loaded)
    elif loaded.settings.backend == "slurm":
        result = queue(loaded, submit)
    else:
        result = sweep(loaded, only=cell or ())
    if as_json:
        print_json(result)
    else:
        _say_study(result)
        done = all(row["status"] == "done" for row in result["results"])
        if loaded.settings.report and done and "ran" in result:
            report([Path(result["study"])])
    if result.get("failed"):
        raise typer.Exit(1)


def status(
    study: Path,
    watch: Annotated[bool, typer.Option("--watch", help="A full-screen table, live.")] = False,
    as_json: Json = False,
) -> None:
    """How far the cells of a study folder are: done, running, failed with cause, time left."""
    from loops.studies.standing import study_status
    from loops.studies.watch import headline
    from loops.studies.watch import watch as show

    result = show(study) if watch else study_status(study)
    if as_json:
        print_json(result)
        return
    for row in result["cells"]:
        cause = f"  {row['error']}" if row["error"] else ""
        print(f"{row['status']:<12}{row['rounds']} rounds  {row['folder']}{cause}")
    print(headline(result))


def _say_study(result: dict[str, Any]) -> None:
    from loops.studies.expected import sentence

    for row in result["results"]:
        factors = ", ".join(f"{k}={v}" for k, v in row["factors"].items())
        cause = f"  {row['error']}" if row["error"] else ""
        print(f"{row['status']:<11}{factors}{cause}")
    counts = ", ".join(f"{key} {result[key]}" for key in ("cells", "ran", "skipped", "failed"))
    print(f"{result['study']}: {counts}")
    if "slurm" in result:
        print("\n".join(f"sbatch {script}" for script in result["slurm"]["scripts"]))
        return
    if "expected" in result:
        print(sentence(result["expected"]))
        return
    print(f"curves while it trained: tensorboard --logdir {result['study']}/cells")
