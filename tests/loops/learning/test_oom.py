"""A batch that does not fit is worked at in halves, and the gradient stays what it was."""

import logging

import pytest
import torch
from torch import nn

from loops.learning.oom import in_parts, is_out_of_memory, pieces


def gradient(fits: int, size: int = 6) -> tuple[list[torch.Tensor], int, list[int]]:
    """Gradient of a mean squared error where no more than `fits` examples go at once."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(size, n, generator=generator) for n in (3, 2))
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    tried = []

    def work(part: slice, weight: float) -> None:
        tried.append(len(x[part]))
        if len(x[part]) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        (weight * ((net(x[part]) - y[part]) ** 2).mean()).backward()

    kept = in_parts(size, work, net.zero_grad)
    return [p.grad.clone() for p in net.parameters() if p.grad is not None], kept, tried


@pytest.mark.parametrize(("fits", "kept"), [(6, 6), (3, 3), (2, 2), (1, 1)])
def test_the_gradient_of_halves_is_that_of_the_whole(fits: int, kept: int) -> None:
    whole, _, _ = gradient(6)
    parts, found, _ = gradient(fits)
    assert found == kept  # 6 -> 3 -> 2 -> 1
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b)


def test_what_failed_half_way_is_not_counted_twice(caplog: pytest.LogCaptureFixture) -> None:
    calls = []

    def work(part: slice, weight: float) -> None:
        calls.append((part.start, part.stop, weight))
        if part == slice(2, 4) and len(calls) == 2:
            raise RuntimeError("CUDA error: out of memory")

    forgotten = []
    with caplog.at_level(logging.WARNING):
        assert in_parts(4, work, lambda: forgotten.append(len(calls)), part=2) == 1
    assert forgotten == [2]
    assert calls[2:] == [(i, i + 1, 0.25) for i in range(4)]
    assert "going on with 1" in caplog.text


def test_other_errors_and_single_examples_are_not_hidden() -> None:
    def bad(part: slice, weight: float) -> None:
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape"):
        in_parts(4, bad, lambda: None)

    def never(part: slice, weight: float) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        in_parts(2, never, lambda: None)
    assert not is_out_of_memory(ValueError("out of memory"))


def test_shares_sum_to_one() -> None:
    assert list(pieces(5, 2)) == [(slice(0, 2), 0.4), (slice(2, 4), 0.4), (slice(4, 5), 0.2)]
