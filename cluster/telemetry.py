"""Metrics of a run: one call per step, interchangeable sinks that may fail without stopping it.

A row is written every `every` steps, and at each step with probe values: means over the steps since the last row, named
with slashes. Names: step, epoch, loss/total and loss/<part>, learning_rate, gradient_norm, samples, clips_per_second,
data/wait_share (of the time in steps), data/quarantined, data/loss_spikes (both since the run began), time/step,
time/data, time/checkpoint, time/probe, time/eta (seconds; per step, but checkpoint, probe and eta in total), and
<probe>/<value>.
"""

from __future__ import annotations

import contextlib
import logging
import statistics
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

logger = logging.getLogger(__name__)

Row = dict[str, float]


class Sink(Protocol):
    """Where rows go. An exception of `write` disables the sink for the rest of the run; one of `flush` is told of, and
    the next flush may go well."""

    def write(self, row: Row) -> None: ...

    def flush(self) -> None:
        """Called before each checkpoint is committed, in another thread than `write`: rows up to its step must survive
        the process."""
        ...

    def close(self) -> None: ...


class Telemetry:
    """Collects the values of the steps and hands rows to the sinks."""

    def __init__(
        self,
        sinks: Sequence[tuple[str, Callable[[], Sink]]],
        *,
        every: int,
        total_steps: int,
        clock: Callable[[], float] = time.monotonic,
        on_section: Callable[[], None] | None = None,
    ) -> None:
        """Sinks as (name, maker): one that cannot be made is left out with the same warning as one that fails.
        `on_section` is called when something else begins to be timed."""
        self._every, self._total_steps, self._clock, self._on_section = every, total_steps, clock, on_section
        self._sinks: dict[str, Sink] = {}
        for name, make in sinks:
            with self._guard(name):
                self._sinks[name] = make()
        self._paces: deque[float] = deque(maxlen=11)
        self._begin_interval()

    def _begin_interval(self) -> None:
        self._sums: dict[str, float] = defaultdict(float)
        self._seconds: dict[str, float] = defaultdict(float)
        self._steps = 0
        self._samples = 0

    @contextlib.contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Books the time inside the block to "data", "step", "checkpoint" or "probe"."""
        if self._on_section is not None:
            self._on_section()
        start = self._clock()
        try:
            yield
        finally:
            self._seconds[part] += self._clock() - start

    def step(self, step: int, values: Row, *, num_samples: int, state: Row, probes: Row | None = None) -> None:
        """One optimizer step is done. `values` are averaged until the next row, `state` is written as it is, and
        `probes` cause a row."""
        self._steps += 1
        self._samples += num_samples
        for name, value in values.items():
            self._sums[name] += value
        if step % self._every == 0 or step == self._total_steps or probes:
            self._emit({"step": step, **state, **self._means(step), **(probes or {})})

    def probes(self, step: int, values: Row) -> None:
        """Probe values outside of a step: before the first one."""
        self._emit({"step": step, **values})

    def _means(self, step: int) -> Row:
        seconds = self._seconds["data"] + self._seconds["step"]
        per_step = seconds / self._steps
        self._paces.append(per_step)
        row = {name: total / self._steps for name, total in self._sums.items()}
        row |= {
            "clips_per_second": self._samples / seconds if seconds else 0.0,
            "data/wait_share": self._seconds["data"] / seconds if seconds else 0.0,
            "time/step": per_step,
            "time/data": self._seconds["data"] / self._steps,
            # The median leaves out the start of an epoch, which waits for the first block.
            "time/eta": statistics.median(self._paces) * max(self._total_steps - step, 0),
        }
        return row | {f"time/{part}": self._seconds[part] for part in ("checkpoint", "probe") if self._seconds[part]}

    def _emit(self, row: Row) -> None:
        self._each(lambda sink: sink.write(row))
        self._begin_interval()

    def flush(self) -> None:
        """May be called in a thread of its own."""
        for name, sink in list(self._sinks.items()):
            try:
                sink.flush()
            except Exception as error:
                logger.warning("the newest metrics are not in %s yet: %s: %s", name, type(error).__name__, error)

    def close(self) -> None:
        self._each(lambda sink: sink.close())
        self._sinks.clear()

    def _each(self, act: Callable[[Sink], None]) -> None:
        for name, sink in list(self._sinks.items()):
            with self._guard(name):
                act(sink)

    @contextlib.contextmanager
    def _guard(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._sinks.pop(name, None)
            logger.warning("metrics no longer go to %s: %s: %s", name, type(error).__name__, error)
