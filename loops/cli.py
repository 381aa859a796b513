"""The door. Every verb imports what it needs when it runs, so --help answers at once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from loops.door import RefusalError, check_neighbors, refusal

app = typer.Typer(
    help="How much annotation does this segmentation task need, and which cases?",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
data = typer.Typer(help="Look at data sets, or make one.", no_args_is_help=True)
app.add_typer(data, name="data")

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Config = Annotated[Path, typer.Argument(help="A YAML file, e.g. configs/demo.yaml.")]
Changes = Annotated[
    list[str] | None, typer.Argument(help="Overrides, e.g. data.root=/path strategy.name=dkd.")
]


@app.command()
def run(config: Config, changes: Changes = None, as_json: Json = False) -> None:
    """Run one cell: rounds of select, annotate, train, measure. Started again, it goes on."""
    from loops.cell import run_cell
    from loops.config import load_run

    result = run_cell(load_run(config, changes or ()))
    if as_json:
        _print_json(result)
    else:
        print(f"{result['rounds']} rounds ({result['ran']} run now) in {result['out']}")
        print(f"curves while it trained: tensorboard --logdir {result['out']}/tensorboard")


@app.command()
def sweep(
    study: Config,
    changes: Changes = None,
    dry_run: Annotated[bool, typer.Option(help="Say what would run, and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Run the cells of a study that are not done, spread by Ray Tune."""
    from loops.study import load_study
    from loops.sweep import plan, sweep

    loaded = load_study(study, changes or ())
    result = plan(loaded) if dry_run else sweep(loaded)
    if as_json:
        _print_json(result)
    else:
        _say_study(result)
    if result.get("failed"):
        raise typer.Exit(1)


@app.command()
def status(study: Path, as_json: Json = False) -> None:
    """How far the cells of a study folder are: done, failed with cause, unfinished."""
    from loops.sweep import study_status

    result = study_status(study)
    if as_json:
        _print_json(result)
    else:
        for row in result["cells"]:
            cause = f"  {row['error']}" if row["error"] else ""
            print(f"{row['status']:<11}{row['rounds']} rounds  {row['folder']}{cause}")


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(help="Run or study folders.")],
    out: Annotated[Path | None, typer.Option(help="Default: 'report' in the first folder.")] = None,
    full: Annotated[
        float | None, typer.Option(help="Dice of full supervision, if known from elsewhere.")
    ] = None,
    as_json: Json = False,
) -> None:
    """One HTML page, tables (CSV, Parquet, LaTeX) and figures (PNG, SVG, PDF) of finished runs."""
    from salearn.report.aggregate import CurveSettings
    from salearn.report.summary import write_report

    how = CurveSettings(full=full)
    result = write_report(folders, out or folders[0] / "report", how)
    if as_json:
        _print_json(result["rows"])
    else:
        print(result["summary"])
        for name, path in result["paths"].items():
            print(f"{name}: {path}")


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="A run or study folder.")],
    b: Annotated[Path, typer.Argument(help="Another one; differences are B minus A.")],
    out: Annotated[Path | None, typer.Option(help="Also write tables and a figure here.")] = None,
    difference: Annotated[
        float, typer.Option(help="Difference that a further study should be able to see.")
    ] = 0.02,
    as_json: Json = False,
) -> None:
    """What differs between two runs or studies: settings, and scores paired by seed and case."""
    from salearn.report.compare import compare_runs, render, write_comparison

    found = compare_runs(a, b, size=difference)
    paths = write_comparison(found, out) if out else {}
    if as_json:
        _print_json(found.to_json() | {"paths": {k: str(path) for k, path in paths.items()}})
    else:
        print(render(found))
        for name, path in paths.items():
            print(f"{name}: {path}")
    if found.table.empty:
        raise typer.Exit(1)


@app.command()
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
    from loops.evaluate import evaluate_files, render
    from salearn.metrics.surface import SurfaceSettings
    from salearn.store import finite

    how = SurfaceSettings(
        tolerance_mm=tolerance, empty=empty, directed=directed, surfel=surfel, parity=parity
    )
    result = evaluate_files(prediction, reference, how)
    if as_json:
        _print_json(finite(result))
    else:
        print(render(result))


@app.command()
def predict(run: Path, images: list[Path], out: Path, as_json: Json = False) -> None:
    """Segment images with the student of a run's last round; SAM3 is not needed."""
    from loops.predict import predict_files

    files = predict_files(run, images, out)
    if as_json:
        _print_json({"files": [str(file) for file in files]})
    else:
        print("\n".join(str(file) for file in files))


@app.command()
def embed(config: Config, changes: Changes = None, as_json: Json = False) -> None:
    """Embed every case of a data set with the frozen encoder, into the shared store."""
    from loops.config import load_run
    from loops.predict import embed_cases

    result = embed_cases(load_run(config, changes or ()))
    if as_json:
        _print_json(result)
    else:
        print(f"{result['cases']} cases, {result['slices']} slices, {result['dim']} values each")


@app.command(name="list")
def list_names(
    kind: Annotated[str, typer.Argument(help="strategies, hosts, arms, backbones, datasets.")],
    as_json: Json = False,
) -> None:
    """What can be named in a config."""
    from loops.catalog import catalog

    rows = catalog(kind)
    if as_json:
        _print_json(rows)
    else:
        for row in rows:
            print(f"{row['name']:<20}{row['summary']}")


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check this installation: versions, torch, Ray, disk, neighbors."""
    from loops.doctor import examine

    findings = examine()
    if as_json:
        _print_json(findings)
    else:
        for row in findings:
            print(f"{'ok' if row['ok'] else 'FAULT':<6}{row['what']}: {row['found']}")
            if not row["ok"]:
                print(f"      -> {row['remedy']}")
    if not all(row["ok"] for row in findings):
        raise typer.Exit(1)


@data.command()
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
        _print_json(found.to_json())
    else:
        print(render(found))
    if not found.ok:
        raise typer.Exit(1)


@data.command()
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
        _print_json({"root": str(out), "cases": cases, "unlabeled": unlabeled})
    else:
        print(f"{cases} cases with masks and {unlabeled} without in {out}")


def main() -> None:
    """Run a verb; what a user can mend is one paragraph and an exit code, never a traceback."""
    try:
        check_neighbors()
        app()
    except RefusalError as error:
        _fail(str(error), error.code)
    except Exception as error:
        known = refusal(error)
        if known is None:
            raise
        _fail(str(known), known.code)


def _fail(message: str, code: int) -> None:
    print(f"salearn: {message}", file=sys.stderr)
    raise SystemExit(code)


def _print_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=1, default=str, allow_nan=False)
    print()


def _say_study(result: dict[str, Any]) -> None:
    for row in result["results"]:
        factors = ", ".join(f"{k}={v}" for k, v in row["factors"].items())
        cause = f"  {row['error']}" if row["error"] else ""
        print(f"{row['status']:<11}{factors}{cause}")
    counts = ", ".join(f"{key} {result[key]}" for key in ("cells", "ran", "skipped", "failed"))
    print(f"{result['study']}: {counts}")
    print(f"curves while it trained: tensorboard --logdir {result['study']}/cells")
