"""A training step at left-atrium size, 2 x 112x112x80: V-Net of 9.45 M weights, and MONAI's VNet.

Each arm is called once (a step of MONAI's takes a minute): first-call costs, some 0.1 s, are in it.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import bench_student as student
from benchmarks.common import Other, Row, emit, once, one_thread

CROPS = (2, 112, 112, 80)
WIDTH = 16


def rows() -> Iterator[Row]:
    """Ours against the same network written plainly, and against MONAI's."""
    what = f"step, width {WIDTH}, {CROPS[0]} x 112x112x80"
    with one_thread():
        plain = Other(
            name="the same V-Net in plain torch",
            run=student.plain_step(WIDTH, CROPS),
            tolerance=1e-4,
        )
        monai = Other(name="MONAI VNet (5x5x5, no teacher)", run=student.monai_step(CROPS))
        yield from once("atrium", what, student.our_step(WIDTH, CROPS), [plain, monai])


if __name__ == "__main__":
    emit(rows())
