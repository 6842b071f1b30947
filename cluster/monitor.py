"""What the driver knows of its workers: an actor beside the driver that outlives every worker group.

Workers tell it the step they begin, their errors and the rows of metrics; the driver shows the rows, asks for a stop
and judges from what it saw whether starting the group again makes sense (`failures.verdict`).
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

from cluster.failures import Attempt
from cluster.log_lines import ShortFormatter

News = dict[str, float] | str
"""A row of metrics, or a line to show."""

_NEWS_KEPT = 1000  # the driver asks twice a second
_ANSWERS_AWAITED = 100


class RunMonitor:
    """State of one driver's run. A plain class, to be tested without Ray; `start_monitor` makes the actor."""

    def __init__(self) -> None:
        self._attempt = Attempt(resumed_step=0)
        self._news: deque[tuple[int, News]] = deque(maxlen=_NEWS_KEPT)
        self._published = 0
        self._stop = False

    def starting(self, resumed_step: int) -> None:
        """A worker group is about to start. A drain concerned the one before; a request to stop holds."""
        self._attempt = Attempt(resumed_step)

    def joined(self, rank: int, node: str) -> None:
        """A rank runs on a node."""
        self._attempt.nodes[rank] = node

    def begin(self, rank: int, step: int, sample_ids: list[int]) -> bool:
        """A rank begins an optimizer step; the answer is whether to stop after it."""
        self._attempt.reached[rank] = step
        self._attempt.sample_ids[rank] = sample_ids
        return self._stop or self._attempt.was_drained

    def failed(self, rank: int, text: str, *, is_fatal: bool) -> None:
        self._attempt.errors[rank] = text
        self._attempt.is_fatal |= is_fatal

    def attempt(self) -> Attempt:
        """The newest."""
        return self._attempt

    def publish(self, news: News) -> None:
        self._published += 1
        self._news.append((self._published, news))

    def news_after(self, number: int) -> tuple[int, list[News]]:
        """What was published after the first `number`, and how many there are by now."""
        return self._published, [news for index, news in self._news if index > number]

    def request_stop(self) -> None:
        """For good."""
        self._stop = True

    def drained(self) -> None:
        """A node of this group is about to go away: its workers are to stop."""
        self._attempt.was_drained = True


def start_monitor() -> Any:
    """An actor of RunMonitor on the driver's node, needing no resources; it ends with the driver."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(RunMonitor).options(num_cpus=0, max_concurrency=1, scheduling_strategy=here).remote()


class WorkerLink:
    """One rank's line to the monitor. Nothing here waits for an answer, except when a rank joins or fails."""

    def __init__(self, monitor: Any, rank: int) -> None:
        import ray

        self._monitor, self.rank = monitor, rank
        self._pending: list[Any] = []
        self._stop = False
        ray.get(monitor.joined.remote(rank, ray.get_runtime_context().get_node_id()))

    def begin(self, step: int, sample_ids: list[int]) -> None:
        self._collect()
        self._pending.append(self._monitor.begin.remote(self.rank, step, sample_ids))

    @property
    def stop_requested(self) -> bool:
        """As of the answers that have arrived."""
        self._collect()
        return self._stop

    def _collect(self) -> None:
        import ray

        if self._pending:
            arrived, late = ray.wait(self._pending, num_returns=len(self._pending), timeout=0)
            self._stop |= any(ray.get(arrived))
            self._pending = late[-_ANSWERS_AWAITED:]

    def publish(self, news: News) -> None:
        self._monitor.publish.remote(news)

    def failed(self, text: str, *, is_fatal: bool) -> None:
        import ray

        ray.get(self._monitor.failed.remote(self.rank, text, is_fatal=is_fatal))


class LinkHandler(logging.Handler):
    """Sends log records of a worker to the driver's console, with the end of their tracebacks and without secrets."""

    def __init__(self, link: WorkerLink, level: int) -> None:
        super().__init__(level)
        self._link = link
        self.setFormatter(ShortFormatter(f"rank {link.rank} %(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self._link.publish(self.format(record))
