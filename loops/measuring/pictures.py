"""Runs on pictures (PNG, JPEG): what a run must be set to, and what has to be said of it."""

from __future__ import annotations

from loops.config import RunConfig
from loops.learning.task import host_name
from loops.ssl.registry import Host
from salearn.data.formats import Dataset
from salearn.errors import ConfigError

PIXELS, MILLIMETRES = "px", "mm"
SHOWN_PATCH = "student.patch='[96, 96, 1]'"
# Their parts look along all three axes: cubes of a volume, 3-D discriminators, scales of a volume.
DEEP_HOSTS = ("magicnet", "sassnet", "urpc")


def length_unit(dataset: Dataset) -> str:
    """The unit of distances of this data set's scores (columns *_mm): nobody knows a pixel's mm."""
    return PIXELS if dataset.flat else MILLIMETRES


def refuse_pictures(config: RunConfig, dataset: Dataset) -> None:
    """Check what pictures ask of a run, before anything is trained.

    Raises:
        ConfigError: the student, the stitching or the unit is one of volumes.
    """
    if config.student.flat:
        _refuse_deep(config.build_host())
    if not dataset.flat:
        return
    for clash in (_student(config), _stitch(config), _unit(config)):
        if clash:
            raise ConfigError(f"{dataset.root}: the cases are pictures; {clash}")


def _refuse_deep(host: Host) -> None:
    if host_name(host) in DEEP_HOSTS:
        raise ConfigError(
            f"host {host_name(host)} looks along three axes and student.patch has 1 along z; take "
            "another host (mean_teacher, fixmatch, cps, ...), or a patch with depth"
        )


def _student(config: RunConfig) -> str | None:
    if config.student.flat or config.alone:
        return None
    patch = list(config.student.patch)
    return (
        f"student.patch={patch} has depth and would learn from copies of one slice: {SHOWN_PATCH}"
    )


def _stitch(config: RunConfig) -> str | None:
    if not (config.sfr or config.alone) or config.stitch.policy == "single":
        return None
    return f"there is nothing to stitch with policy '{config.stitch.policy}': stitch.policy=single"


def _unit(config: RunConfig) -> str | None:
    if config.data.axis != 2:
        return f"their one slice lies across axis 2, not {config.data.axis}: data.axis=2"
    if config.unit == "slice":
        return "a picture is one slice: unit=volume counts pictures"
    return None
