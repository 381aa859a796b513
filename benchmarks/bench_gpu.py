"""What needs a GPU: LoRA steps of the full-size SAM3, V-Net steps in bf16. Says so without one.

SAM3 has its real sizes and random weights: the time of a step does not depend on them. "Share" is
of the bf16 matrix product of 8192 x 8192 that this card reaches, measured first.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

from benchmarks.common import Row, emit, lone_row

SIDES = (336, 672, 1008)
# Forward TFLOP per image, vision and heads with one prompt (torch FlopCounter); a LoRA step is
# about twice the forward pass, and three times with checkpointing.
FORWARD = {336: 0.61, 672: 2.5, 1008: 5.86}
ROUNDS, WARM = 5, 2
Step = Callable[[], Any]


def timed(step: Step) -> tuple[float, float]:
    """Median seconds of a step, and its peak memory in MiB."""
    import torch

    for _ in range(WARM):
        step()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    found = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        step()
        torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return median(found), torch.cuda.max_memory_allocated() / 2**20


def peak_tflops() -> float:
    """What the card reaches on one large product."""
    import torch

    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    seconds, _ = timed(lambda: a @ a)
    return 2 * 8192**3 / seconds / 1e12


def gpu_row(what: str, step: Step, tflop: float | None, peak: float) -> Row:
    seconds, memory = timed(step)
    share = "" if tflop is None else f", {tflop / seconds / peak:.0%} of measured peak"
    row = lone_row("gpu", f"{what}{share}", ROUNDS, 0.0, round(memory, 1))
    return Row(**row | {"wall_s": float(f"{seconds:.3g}")})


def sam3(side: int) -> Any:
    """The detector of SAM3 at full size, its vision part at `side` pixels."""
    from transformers import Sam3Config, Sam3Model

    config = Sam3Config()
    config.image_size = side
    return Sam3Model(config)


def lora_step(side: int, checkpointed: bool) -> Step:
    """A plain peft + transformers step on one mosaic; our stages call the same modules."""
    import torch
    from peft import LoraConfig, get_peft_model

    model = sam3(side)
    if checkpointed:
        model.supports_gradient_checkpointing = True
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    places = r".*vision_encoder.*\.(q_proj|k_proj|v_proj|o_proj|fc1|fc2)"
    adapted: Any = get_peft_model(model, LoraConfig(r=8, target_modules=places)).cuda().train()
    trained = [p for p in adapted.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-4, fused=True)
    image = torch.randn(1, 3, side, side, device="cuda")
    words = torch.randint(0, 1000, (1, 8), device="cuda")

    def step() -> None:
        optimiser.zero_grad()
        with torch.autocast("cuda", torch.bfloat16):
            found = adapted(pixel_values=image, input_ids=words)
            loss = found.semantic_seg.float().square().mean()
        torch.autograd.backward([loss])
        optimiser.step()

    return step


def vnet_step(ours: bool) -> Step:
    """2 x 112x112x80 in bf16: our V-Net, or MONAI's."""
    import torch
    from monai.losses import DiceCELoss

    from benchmarks.bench_student import CLASSES, literature, sgd

    if ours:
        net: Any = literature(16)
    else:
        from monai.networks.nets import VNet

        net = VNet(in_channels=1, out_channels=CLASSES)
    net = net.cuda().train()
    image = torch.randn(2, 1, 112, 112, 80, device="cuda")
    mask = torch.randint(CLASSES, (2, 1, 112, 112, 80), device="cuda")
    loss, optimiser = DiceCELoss(to_onehot_y=True, softmax=True, squared_pred=True), sgd(net)

    def step() -> None:
        optimiser.zero_grad()
        with torch.autocast("cuda", torch.bfloat16):
            found = net(image)
        loss(found.float(), mask).backward()
        optimiser.step()

    return step


def rows() -> Iterator[Row]:
    """Nothing, and a sentence, where there is no card."""
    import torch

    if not torch.cuda.is_available():
        print("gpu: no CUDA device", file=sys.stderr)
        yield lone_row("gpu", "no CUDA device", 0, 0.0, None)
        return
    peak = peak_tflops()
    name = torch.cuda.get_device_name()
    yield lone_row("gpu", f"{name}: bf16 product reaches {peak:.0f} TFLOP/s", ROUNDS, 0.0, None)
    for side in SIDES:
        for checkpointed in (False, True):
            what = f"SAM3 LoRA r=8 step, one mosaic of {side}" + ", checkpointed" * checkpointed
            tflop = FORWARD[side] * (3 if checkpointed else 2)
            yield gpu_row(what, lora_step(side, checkpointed), tflop, peak)
            torch.cuda.empty_cache()
    for what, ours in (("V-Net, 9.45 M", True), ("MONAI VNet", False)):
        yield gpu_row(f"{what}: step 2 x 112x112x80, bf16", vnet_step(ours), None, peak)


if __name__ == "__main__":
    emit(rows())
