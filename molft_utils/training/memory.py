"""Memory that a batch exhausts: the error names the setting to make smaller."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..errors import BatchTooLargeError

#: How torch tells on a CPU that memory is exhausted; a GPU's allocator has an exception of its own.
_ON_CPU = ("can't allocate memory", "not enough memory")


@contextmanager
def naming_batch(setting: str, size: int) -> Iterator[None]:
    """Where memory is exhausted, say which setting holds the size of the batch, and to make it smaller.

    Raises
    ------
    BatchTooLargeError
        In place of what torch or numpy raise.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, BatchTooLargeError) or not _is_exhaustion(error):
            raise
        raise BatchTooLargeError(
            f"memory is exhausted by a batch of {size} molecules; make {setting} smaller, for instance "
            f"{setting}={max(1, size // 2)}, or cut molecules earlier (max_tokens)"
        ) from error


def _is_exhaustion(error: RuntimeError | MemoryError) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(text in str(error) for text in _ON_CPU)
