"""A batch that does not fit the card: the same work in halves, with its gradients added up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

MESSAGES = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
log = logging.getLogger(__name__)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of a card is used up."""
    named = type(error).__name__ == "OutOfMemoryError"
    return named or (isinstance(error, RuntimeError) and any(m in str(error) for m in MESSAGES))


def in_parts(
    size: int,
    work: Callable[[slice, float], None],
    reset: Callable[[], None],
    part: int | None = None,
) -> int:
    """Do the work of a batch in parts that fit; halved until they do, which is logged.

    The gradient of a mean over the batch is the sum of those of the parts, each weighted by its
    share of the batch: equal for every loss that is a mean over the batch, up to rounding; batch
    norm sees smaller batches.

    Args:
        size: of the batch.
        work: forward and backward of a slice of the batch, its loss times the weight.
        reset: forgets what was added up and frees memory, before the batch is begun anew.
        part: what an earlier batch ended with, so that it need not fail again.

    Returns:
        The size of the parts that fitted, for the next batch.

    Raises:
        RuntimeError: the error of the card, if not even one example fits.
    """
    part = min(part or size, size)
    while True:
        try:
            for piece, weight in pieces(size, part):
                work(piece, weight)
            return part
        except Exception as error:
            if part == 1 or not is_out_of_memory(error):
                raise
            log.warning(
                "the card is out of memory with %d of %d examples at once: going on with %d, "
                "gradients added up", part, size, (part + 1) // 2,
            )  # fmt: skip
        part = (part + 1) // 2
        reset()


def pieces(size: int, part: int) -> Iterator[tuple[slice, float]]:
    """Slices of at most `part` of `size` examples, each with its share of them."""
    for start in range(0, size, part):
        end = min(start + part, size)
        yield slice(start, end), (end - start) / size
