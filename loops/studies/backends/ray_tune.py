"""Cells as Ray Tune trials, on this machine or on a cluster that is there already."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from loops.progress import Progress
from loops.studies.attempt import from_order, order, run_job
from loops.studies.expected import memory_mb
from loops.studies.ledger import Ledger
from loops.studies.parts import jobs_of
from loops.studies.study import Cell, Study
from salearn.errors import ConfigError

SOCKET_PATH_LIMIT = 40  # Ray's sockets lie below its temporary root; AF_UNIX paths end at 107 bytes


@runtime_checkable
class Place(Protocol):
    """Which Ray is used: `study` and `search` sections say so."""

    @property
    def address(self) -> str:
        """Of a running cluster; "" = a Ray of its own on this machine."""
        ...

    @property
    def object_store_mb(self) -> int:
        """Bound on shared memory of a Ray of its own, MiB."""
        ...


def execute(study: Study, cells: Sequence[Cell], ledger: Ledger) -> dict[str, str]:
    """Run the cells; key -> cause of those whose worker died more often than `retries`.

    Ray places and retries; what is done stands in the ledger and in the cells' own logs.
    """
    settings = study.settings
    memory = memory_mb(study, ledger)
    orders = [
        order(job, ledger) | {"resources": _resources(study, memory.get(job.cell.kind))}
        for job in jobs_of(study, cells, Progress().say)
    ]
    with ray_of(settings) as tune:
        tuner = tune.Tuner(
            tune.with_resources(run_trial, lambda config: config["cell"]["resources"]),
            param_space={"cell": tune.grid_search(orders)},
            tune_config=tune.TuneConfig(
                max_concurrent_trials=settings.parallel,
                reuse_actors=True,  # a fresh worker costs as many seconds of imports as a cell
            ),
            run_config=tune.RunConfig(
                name=f"tune_{ledger.sweep}",
                storage_path=str((study.out / "ray").resolve()),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=settings.retries),
            ),
        )
        return dict(_deaths(tuner.fit(), settings.retries))


def _resources(study: Study, memory_mb: int | None) -> dict[str, float]:
    """What a trial holds; a cell that wants more memory than any node has would wait forever."""
    settings = study.settings
    held: dict[str, float] = {"cpu": settings.cpu, "gpu": settings.gpu}
    return held | ({"memory": memory_mb * 2**20} if memory_mb else {})


def _deaths(results: Any, retries: int) -> Iterator[tuple[str, str]]:
    """Results are told apart by the key in their config: their order changes on a retry."""
    for result in results:
        if result.error is not None:
            name = type(result.error).__name__
            yield (
                str(result.config["cell"]["key"]),
                f"its worker died {retries + 1} times ({name}): killed, out of memory, or a node "
                "was lost; see progress.log beside the cell",
            )


def run_trial(config: dict[str, Any]) -> None:
    """One Ray Tune trial: run the cell, or the part of one, that `config["cell"]` describes."""
    from ray import tune

    given = {k: v for k, v in config["cell"].items() if k != "resources"}
    if Path(given["cwd"]).is_dir():  # a node of a cluster: paths of the study are relative
        os.chdir(given["cwd"])
    job, ledger = from_order(given)
    with _log_file(job.cell.out / "progress.log"):
        outcome = run_job(job, ledger, Progress())
    tune.report({"outcome": outcome, "rounds_done": job.cell.rounds_done})


@contextmanager
def _log_file(path: Path) -> Iterator[None]:
    """Standard error of a worker goes beside its cell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = sys.stderr
    with path.open("a", buffering=1) as handle:
        sys.stderr = handle
        try:
            yield
        finally:
            sys.stderr = before


@contextmanager
def ray_of(settings: Place) -> Iterator[Any]:
    """Ray Tune on a given cluster, or on a local Ray: no dashboard, niceness 0, bounded memory."""
    os.environ.update(
        RAY_worker_niceness="0",
        RAY_CHDIR_TO_TRIAL_DIR="0",
        TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
        RAY_AIR_NEW_OUTPUT="0",
        RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
    )
    try:
        import ray
        from ray import tune
    except ImportError:
        raise ConfigError(
            "study.backend=ray needs Ray: pip install 'salearn[tune]', or set study.backend=serial"
        ) from None
    if ray.is_initialized():  # whoever started it, in this process, also ends it
        yield tune
        return
    with tempfile.TemporaryDirectory(prefix="ray", dir=_short_root()) as root:
        _start(settings, root)
        try:
            yield tune
        finally:
            ray.shutdown()


def _start(settings: Place, root: str) -> None:
    import ray

    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    address = settings.address
    if not address:
        ray.init(
            include_dashboard=False,
            object_store_memory=settings.object_store_mb * 2**20,
            num_cpus=os.cpu_count(),
            _temp_dir=root,
            **quiet,
        )
        return
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"address={address}: no Ray cluster answers there ({error}); start one with "
            "`ray start --head`, or leave the address out"
        ) from None


def _short_root() -> str:
    root = tempfile.gettempdir()
    if len(root) > SOCKET_PATH_LIMIT:
        raise ConfigError(
            f"TMPDIR={root}: too long for Ray's sockets ({len(root)} > {SOCKET_PATH_LIMIT} "
            "characters); set TMPDIR=/tmp"
        )
    return root
