"""What the driver does while its workers train, in a thread: shows their news, and passes on what asks for a stop.

A stop is asked for by a signal (runtime.stop_requests), or by a node that is about to go away: Ray says which nodes are
draining. Where it is a node of the workers they save and are started again elsewhere; where it is the driver's own, the
run ends as by a signal, to be gone on with by the same command.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Collection, Iterator
from typing import Any

from cluster.failures import describe
from cluster.monitor import News
from cluster.runtime import ask_to_stop
from cluster.telemetry import Row

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.5
_LAST_NEWS_SECONDS = 10.0


@contextlib.contextmanager
def watching(
    monitor: Any,
    stop: threading.Event,
    show: Callable[[News], None],
    *,
    rows: Callable[[Row], None] | None = None,
    draining: Callable[[], Collection[str]] | None = None,
) -> Iterator[None]:
    """While the block runs news are shown, rows of metrics also given to `rows`, and a request to stop is passed on.

    Args:
        monitor: an actor of cluster.monitor.RunMonitor.
        stop: set when the run is to end; set here when the driver's node is draining.
        draining: ids of the nodes that are about to go away; None: as Ray says.
    """
    done = threading.Event()
    watch = _Watch(monitor, stop, show, rows, draining or draining_nodes)
    thread = threading.Thread(target=watch.follow, args=(done,), name="watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=_LAST_NEWS_SECONDS)


def draining_nodes() -> Collection[str]:
    """Ids of the nodes of the cluster that are about to go away."""
    import ray

    return ray._private.state.state.get_draining_nodes() or {}  # as Ray Train's own watcher asks


class _Watch:
    def __init__(
        self,
        monitor: Any,
        stop: threading.Event,
        show: Callable[[News], None],
        rows: Callable[[Row], None] | None,
        draining: Callable[[], Collection[str]],
    ) -> None:
        import ray

        self._monitor, self._stop, self._show, self._rows, self._draining = monitor, stop, show, rows, draining
        self._own_node = ray.get_runtime_context().get_node_id()
        self._seen = 0
        self._is_told = False

    def follow(self, done: threading.Event) -> None:
        """Until the event is set, and once more after it."""
        failed: set[str] = set()
        is_last = False
        while not is_last:
            is_last = done.wait(_POLL_SECONDS)
            for step in (self._show_news, self._pass_on_drains, self._pass_on_stop):
                try:
                    step()
                except Exception as error:  # the run goes on, and the next time it may go well
                    if step.__name__ not in failed:
                        failed.add(step.__name__)
                        logger.warning("could not %s: %s", step.__name__.replace("_", " ").strip(), describe(error))

    def _show_news(self) -> None:
        import ray

        self._seen, news = ray.get(self._monitor.news_after.remote(self._seen))
        for item in news:
            self._show(item)
            if self._rows is not None and not isinstance(item, str):
                self._rows(item)

    def _pass_on_drains(self) -> None:
        import ray

        draining = set(self._draining())
        if not draining:
            return
        if self._own_node in draining and not self._stop.is_set():
            ask_to_stop("the node of this job is draining")
        attempt = ray.get(self._monitor.attempt.remote())
        if draining & set(attempt.nodes.values()) and not attempt.was_drained:
            ranks = sorted(rank for rank, node in attempt.nodes.items() if node in draining)
            logger.warning("the nodes of ranks %s are draining: the workers save and are started again", ranks)
            ray.get(self._monitor.drained.remote())

    def _pass_on_stop(self) -> None:
        import ray

        if self._stop.is_set() and not self._is_told:
            ray.get(self._monitor.request_stop.remote())
            self._is_told = True
