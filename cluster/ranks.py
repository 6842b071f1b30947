"""What the workers tell each other outside of the engine: small facts, over gloo, so that no GPU is waited for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist

T = TypeVar("T")


class Ranks:
    """This worker among the others. Every method is collective: all ranks call it, in the same order."""

    def __init__(self, timeout: timedelta | None = None) -> None:
        """Needs the process group that Ray Train has made; collective too.

        A method raises RuntimeError when the other ranks keep it waiting for longer than `timeout` (None: as long as
        torch lets gloo wait), and from then on: their connections are closed.
        """
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._group = dist.new_group(backend="gloo", timeout=timeout)

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Element-wise sum over the ranks, in the dtype of `values` (int64 or float64)."""
        total = torch.tensor(values)
        dist.all_reduce(total, group=self._group)
        return total.numpy()

    def any(self, flags: np.ndarray) -> np.ndarray:
        """Element-wise OR over the ranks of a bool array."""
        packed = torch.tensor(np.packbits(flags))
        dist.all_reduce(packed, op=dist.ReduceOp.BOR, group=self._group)
        return np.unpackbits(packed.numpy(), count=flags.size).astype(bool)

    def broadcast(self, value: Any) -> Any:
        """What rank 0 passed."""
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._group)
        return box[0]

    def ask_first(self, question: Callable[[], T]) -> T:
        """What rank 0 answers; an error that it meets is raised on all ranks."""
        answer: Any = None
        if self.is_first:
            try:
                answer = question()
            except Exception as error:
                answer = error.with_traceback(None)
        answer = self.broadcast(answer)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def gather(self, value: Any) -> list[Any]:
        """What each rank passed, by rank."""
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self._group)
        return values
