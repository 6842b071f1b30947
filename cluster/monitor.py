"""What the driver knows of its workers: an actor beside the driver that outlives every worker group.

Workers tell it the step they begin, their errors and the rows of metrics; the driver shows the rows and asks for a
stop. It also decides, when a group starts, whether starting again makes sense (`failures.verdict`).
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

from cluster.failures import Attempt, verdict
from cluster.log_lines import ShortFormatter

News = dict[str, float] | str
"""A row of metrics, or a line to show."""

_NEWS_KEPT = 1000  # the driver asks twice a second


class RunMonitor:
    """State of one driver's run. A plain class, to be tested without Ray; `start_monitor` makes the actor."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self._news: deque[tuple[int, News]] = deque(maxlen=_NEWS_KEPT)
        self._published = 0
        self._stop = False

    def starting(self, resumed_step: int) -> str | None:
        """A worker group starts; the answer is why it must not, or None."""
        reason = verdict(self.attempts)
        self.attempts.append(Attempt(resumed_step))
        return reason

    def begin(self, rank: int, step: int, sample_ids: list[int]) -> bool:
        """A rank begins an optimizer step; the answer is whether to stop after it."""
        if self.attempts:
            self.attempts[-1].reached[rank] = step
            self.attempts[-1].sample_ids[rank] = sample_ids
        return self._stop

    def failed(self, rank: int, text: str, *, is_fatal: bool) -> None:
        if not self.attempts:
            self.attempts.append(Attempt(resumed_step=0))
        self.attempts[-1].errors[rank] = text
        self.attempts[-1].is_fatal |= is_fatal

    def last_failure(self) -> str:
        return self.attempts[-1].describe() if self.attempts else "before any of them could start"

    def publish(self, news: News) -> None:
        self._published += 1
        self._news.append((self._published, news))

    def news_after(self, number: int) -> tuple[int, list[News]]:
        """What was published after the first `number`, and how many there are by now."""
        return self._published, [news for index, news in self._news if index > number]

    def request_stop(self) -> None:
        self._stop = True


def start_monitor() -> Any:
    """An actor of RunMonitor on the driver's node, needing no resources; it ends with the driver."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(RunMonitor).options(num_cpus=0, max_concurrency=1, scheduling_strategy=here).remote()


class WorkerLink:
    """One rank's line to the monitor. Nothing here waits for an answer, except when a group starts or fails."""

    def __init__(self, monitor: Any, rank: int) -> None:
        self._monitor, self.rank = monitor, rank
        self._pending: Any = None
        self._stop = False

    def begin(self, step: int, sample_ids: list[int]) -> None:
        import ray

        if self._pending is not None and ray.wait([self._pending], timeout=0)[0]:
            self._stop |= ray.get(self._pending)
            self._pending = None
        answer = self._monitor.begin.remote(self.rank, step, sample_ids)
        self._pending = answer if self._pending is None else self._pending

    @property
    def stop_requested(self) -> bool:
        """As of the answers that have arrived."""
        return self._stop

    def publish(self, news: News) -> None:
        self._monitor.publish.remote(news)

    def starting(self, resumed_step: int) -> str | None:
        import ray

        return ray.get(self._monitor.starting.remote(resumed_step))

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
