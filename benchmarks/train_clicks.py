"""Teach the small tracker to obey clicks, on generated scenes alone (about ten CPU-minutes).

    python -m benchmarks.train_clicks --out runs/clicks [--steps 1500] [--batch 12]

Use them: `interactive.tracker.weights=runs/clicks`. They stand on the vision trunk of salearn-mini.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=12)
    given = parser.parse_args()

    import torch

    from loops.interactive.training import ClickTraining, train_clicks

    torch.set_num_threads(1)
    start = time.process_time()

    def show(done: int, total: int, values: dict[str, float]) -> None:
        shown = "  ".join(f"{name} {value:.3f}" for name, value in values.items())
        seconds = time.process_time() - start
        print(f"{done}/{total}  {seconds:.0f} CPU-s  {shown}", file=sys.stderr, flush=True)

    record = train_clicks(ClickTraining(steps=given.steps, batch=given.batch), given.out, show)
    print(json.dumps(record | {"cpu_seconds": round(time.process_time() - start, 1)}))


if __name__ == "__main__":
    main()
