"""What a config will cost, said before it runs: parameters, FLOPs, memory, trainings, hours."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from loops.config import RunConfig
from loops.progress import Progress
from loops.tuning import levers
from loops.workbench import Workbench
from salearn.data.phantoms import CLASSES
from salearn.models import cost
from salearn.models.arms.registry import Arm
from salearn.models.arms.whole import ZeroShot
from salearn.models.lora import trainable
from salearn.models.sam3 import Sam
from salearn.models.vnet import VNet
from salearn.store import read_lines

STEPS = 3  # timed, after one that is not


def plan_run(config: RunConfig, arm: Arm, measure: bool = False) -> dict[str, Any]:
    """Plain values for `salearn plan --json`; no weight is read and nothing is trained.

    Args:
        arm: what of SAM3 is trained.
        measure: take steps on the device of `sam.device` too, with random weights.

    Returns:
        {"student", "sam" (None for a bare host), "trainings", "hours"}; "sam" holds parameters by
        component, what the arm trains, GFLOP, GiB (formula: salearn.models.cost) and, measured,
        ms and GiB of a step.
    """
    prompts, channels = _task(config)
    return {
        "student": _student(config, channels, len(prompts) + 1),
        "sam": _sam(config, arm, prompts, measure) if config.sfr or config.alone else None,
        "trainings": trainings(config),
        "hours": expected_hours(config),
    }


def trainings(config: RunConfig) -> dict[str, int]:
    """How many models of each stage a run trains; none of them is in the store yet."""
    count = config.num_rounds * config.turns
    if config.alone:
        return {"rounds": count, "students": 0, "adapters": _alone(config)}
    return {"rounds": config.num_rounds, "students": count, "adapters": count * config.sfr}


def _alone(config: RunConfig) -> int:
    """Trainings of SAM3 alone: each round once, and every rate that a round tries."""
    how, arm = config.adaptation, config.build_arm()
    if isinstance(arm, ZeroShot):
        return 0
    more = len(how.grid(str(config.arm["name"]), arm)) - 1
    rounds = config.num_rounds
    return rounds + more * {"off": 0, "first": 1, "every": rounds}[how.choose_rate]


def expected_hours(config: RunConfig) -> dict[str, Any]:
    """Core-hours of all trainings by the timings of earlier runs beside this one.

    Returns:
        {"core_hours", "known", "unknown", "runs"}: hours of the stages that were timed before,
        and the names of those that were not; core_hours is None if none was.
    """
    folders = sorted({path.parent for path in Path(config.out).parent.glob("*/timings.jsonl")})
    seconds = _seconds(folders)
    counts = trainings(config)
    wanted = {"students": counts["students"], "adapters": counts["adapters"]}
    wanted = {stage: count for stage, count in wanted.items() if count}
    known = {stage: mean(seconds[stage]) for stage in wanted if stage in seconds}
    hours = sum(known[stage] * wanted[stage] for stage in known) / 3600
    return {
        "core_hours": round(hours, 4) if known else None,
        "known": {stage: round(value, 2) for stage, value in known.items()},
        "unknown": sorted(set(wanted) - set(known)),
        "runs": [str(folder) for folder in folders],
    }


def _seconds(folders: list[Path]) -> dict[str, list[float]]:
    """CPU-seconds of every timed training, by stage."""
    found: dict[str, list[float]] = {}
    for folder in folders:
        for line in read_lines(folder / "timings.jsonl"):
            found.setdefault(str(line["stage"]), []).append(float(line["cpu_seconds"]))
    return found


def _task(config: RunConfig) -> tuple[tuple[str, ...], int]:
    """Prompts and image channels, of the data set where there is one."""
    if config.data.root is None:
        names = [name for value, name in CLASSES.items() if value != "0"]
        return tuple(config.data.prompts.get(name, name) for name in names), 1
    bench = Workbench(config, Progress())
    first = bench.dataset.cases[0]
    return bench.prompts, len(first.images)


def _student(config: RunConfig, channels: int, num_classes: int) -> dict[str, Any]:
    with torch.device("meta"):
        net = VNet(channels, num_classes, config.student.net)
    count = sum(p.numel() for p in net.parameters())
    return {"parameters": count, "iterations": config.student.iterations}


def _sam(config: RunConfig, arm: Arm, prompts: tuple[str, ...], measure: bool) -> dict[str, Any]:
    mining = config.finetune.mining
    prompts += ("",) * (mining.generic.count if mining else 0)  # asked of every image of a step
    sam = cost.unloaded_sam(config.sam, prompts)
    batch, amp = config.finetune.batch, config.finetune.amp
    count = cost.flops(sam, 1)
    found = {
        "weights": config.sam.weights,
        "resolution": sam.resolution,
        "batch": batch,
        "gradient_checkpointing": config.sam.gradient_checkpointing,
        "parameters": cost.parameters(sam),
        "trainable": cost.trainable_counts(sam, arm),
        "gflop": count,
        "gib": cost.step_memory(sam, arm, batch, amp),
        "levers": levers.of_config(config, sam, arm, count),
        "measured": None,
    }
    if measure:
        loaded = cost.unloaded_sam(config.sam, prompts, config.sam.device)
        if config.sam.gradient_checkpointing:
            cost.checkpointing(loaded)
        found["measured"] = measure_step(loaded, arm, batch, amp)
    return found


def measure_step(sam: Sam, arm: Arm, batch: int, amp: bool) -> dict[str, Any]:
    """Milliseconds of a training step (mean of a few after a warm-up) and peak memory in GiB.

    The peak is of the allocator (None on a CPU); TFLOP/s count the FLOPs of `cost.flops`.
    """
    adapted = arm.adapt(sam, 0).train()
    opened = list(trainable(adapted).values())
    optimiser = torch.optim.AdamW(opened, lr=1e-6) if opened else None
    device = sam.device
    images = torch.rand(batch, 3, sam.resolution, sam.resolution, device=device) * 2 - 1
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    times = []
    for _ in range(STEPS + 1):
        start = time.perf_counter()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=amp):
            loss = adapted(images).float().square().mean()
        if optimiser is not None:
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        if cuda:
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    seconds = mean(times[1:])
    work = cost.flops(sam, batch)["train"] / 1e3
    return {
        "device": torch.cuda.get_device_name(device) if cuda else "cpu",
        "ms": round(1000 * seconds, 2),
        "peak_gib": round(torch.cuda.max_memory_allocated(device) / cost.GIB, 3) if cuda else None,
        "tflop_per_s": round(work / seconds, 3),
    }


def render(plan: Mapping[str, Any]) -> str:
    """The plan as plain text for people."""
    counts = plan["trainings"]
    lines = [f"student: {plan['student']['parameters']:,} parameters"]
    sam = plan["sam"]
    if sam is not None:
        lines += [
            f"SAM3 {sam['weights']} at {sam['resolution']} px, {sam['batch']} mosaics a step",
            _table("parameters", sam["parameters"], "{:,}"),
            _table("trained", sam["trainable"], "{:,}"),
            _table("GFLOP an image", sam["gflop"], "{:,.1f}"),
            _table("GiB of a step", sam["gib"], "{:.3f}"),
            *levers.lines(sam["levers"]),
            _measured(sam["measured"]),
        ]
    lines.append(
        f"{counts['rounds']} rounds: {counts['students']} students, {counts['adapters']} adapters"
    )
    hours = plan["hours"]
    told = "unknown: no run beside this one was timed"
    if hours["core_hours"] is not None:
        missing = f" (without {', '.join(hours['unknown'])})" if hours["unknown"] else ""
        told = f"{hours['core_hours']:.2f}, by {len(hours['runs'])} earlier runs{missing}"
    return "\n".join([*lines, f"core-hours of training: {told}"])


def _table(title: str, values: Mapping[str, Any], form: str) -> str:
    cells = "  ".join(f"{name} {form.format(value)}" for name, value in values.items())
    return f"{title}: {cells}"


def _measured(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "measured: nothing (--measure takes a few steps on sam.device)"
    peak = "" if found["peak_gib"] is None else f", peak {found['peak_gib']} GiB"
    return f"measured on {found['device']}: {found['ms']} ms a step{peak}"
