"""The `study` section of a study file."""

from __future__ import annotations

from typing import Any, Literal

from loops.studies.replays import ReplaySettings
from salearn.errors import ConfigError
from salearn.settings import Field, settings

REASONS = {
    "asha": (
        "the rungs of ASHA compare cells at equal steps, and cells of small budgets always lose: "
        "it would stop the left end of every curve"
    ),
    "pbt": (
        "PBT copies weights from the best trial into others: a cell would go on from weights that "
        "saw masks which its own budget did not pay for"
    ),
}


@settings
class SlurmSettings:
    """What the header of the batch file asks for, for one cell.

    Attributes:
        time: as Slurm writes it, e.g. "04:00:00" or "1-00:00:00".
        setup: lines before the command, e.g. ["module load cuda", ". /opt/salearn/bin/activate"].
        options: further lines of the header, e.g. ["--account=lab", "--gres=gpu:a100:1"].
        array_limit: most tasks of one array (`scontrol show config | grep MaxArraySize`, less one).
    """

    partition: str | None = None
    time: str = "04:00:00"
    setup: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    array_limit: int = Field(default=1000, ge=1)


@settings
class StudySettings:
    """The `study` section of a study file.

    Attributes:
        factors: dotted key -> the values it takes; the cells are all combinations.
        tied: factor -> another one whose value it takes, e.g. {train_seed: draw_seed}: every draw
            is then trained from its own seed.
        replay: adds a cell for every run below a folder, trained on that run's queries.
        exclude: combinations that are left out, as {key: value} of some factors.
        priorities: combinations that are run first, in this order, as {key: value}.
        out: folder of the study; cells lie in `cells`, shared results in `store`.
        cpu, gpu: share of one machine that a cell holds while it runs; gpu may be a fraction.
        memory_gb: memory that a cell holds; None = the peak of finished cells of its kind, if any.
        parallel: most cells at once (default: as many as the cores allow).
        backend: "ray", "serial" without Ray in this process, or "slurm": one task of an array each.
        address: of a running Ray cluster, or "auto"; "" = a Ray of its own on this machine.
        parallel_budgets: the rounds of a cell run side by side where its strategy looks at no model
            (random, replay); results are those of the run in sequence.
        retries: how often a cell is started again whose worker died.
        stale: seconds without a sign of life after which a worker on another machine is dead.
        report: once every cell is done, a sweep writes the report and prints its tables.
        scheduler: "fifo"; schedulers that compare cells of different budgets are refused.
        object_store_mb: bound on Ray's shared memory; cells share files, not objects.
    """

    name: str = "study"
    factors: dict[str, list[Any]] = Field(default_factory=dict)
    tied: dict[str, str] = Field(default_factory=dict)
    replay: ReplaySettings = ReplaySettings()
    exclude: list[dict[str, Any]] = Field(default_factory=list)
    priorities: list[dict[str, Any]] = Field(default_factory=list)
    out: str = "studies/study"
    cpu: float = Field(default=1, gt=0)
    gpu: float = Field(default=0, ge=0)
    memory_gb: float | None = Field(default=None, gt=0)
    parallel: int | None = Field(default=None, ge=1)
    backend: Literal["ray", "serial", "slurm"] = "ray"
    address: str = ""
    parallel_budgets: bool = False
    retries: int = Field(default=2, ge=0)
    stale: float = Field(default=60.0, gt=0)
    report: bool = False
    scheduler: Literal["fifo", "asha", "pbt"] = "fifo"
    slurm: SlurmSettings = SlurmSettings()
    object_store_mb: int = Field(default=128, ge=80)

    def __post_init__(self) -> None:
        if self.scheduler in REASONS:
            raise ConfigError(
                f"scheduler={self.scheduler} is refused across cells: {REASONS[self.scheduler]}; "
                "use scheduler=fifo"
            )
