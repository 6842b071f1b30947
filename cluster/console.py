"""Progress on the driver's stderr: a bar on a terminal, plain lines in the log of a job.

Rows travel from rank 0 through the monitor, because a bar drawn by a worker would not survive Ray's forwarding of logs.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TextIO

from cluster.monitor import News
from cluster.telemetry import Row


@contextlib.contextmanager
def printer(stream: TextIO | None = None, *, among: str | None = None) -> Iterator[Callable[[News], None]]:
    """What shows a row or a line. Of a run `among` others the name, given here, stands before every line, and there is
    no bar."""
    stream = stream or sys.stderr
    has_bar = stream.isatty() and among is None
    with _bar(stream) if has_bar else contextlib.nullcontext(_line_printer(stream, among)) as show:
        yield show


def _line_printer(stream: TextIO, name: str | None) -> Callable[[News], None]:
    def show(news: News) -> None:
        line = news if isinstance(news, str) else summary(news)
        print(f"{name}: {line}" if name else line, file=stream, flush=True)

    return show


@contextlib.contextmanager
def _bar(stream: TextIO) -> Iterator[Callable[[News], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (BarColumn(bar_width=24), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(file=stream)) as progress:
        task = progress.add_task("starting the workers", total=None)

        def show(news: News) -> None:
            if isinstance(news, str):
                progress.console.print(news, highlight=False)
            else:
                progress.update(task, description=summary(news), completed=news["step"], total=news.get("steps"))

        yield show


def summary(row: Row) -> str:
    """One readable line of the values a row has."""
    parts = [f"step {int(row['step'])}" + (f"/{int(row['steps'])}" if "steps" in row else "")]
    if "epoch" in row:
        parts.append(f"epoch {int(row['epoch'])}")
    parts += [f"{name.removeprefix('loss/')} {value:.4g}" for name, value in row.items() if name.startswith("loss/")]
    formats = {
        "learning_rate": lambda value: f"lr {value:.3g}",
        "clips_per_second": lambda value: f"{value:.3g} clips/s",
        "data/wait_share": lambda value: f"waiting for data {value:.0%}",
        "data/quarantined": lambda value: f"quarantined {int(value)}" if value else "",
        "time/eta": lambda value: f"{duration(value)} left",
    }
    parts += [show(row[name]) for name, show in formats.items() if name in row]
    known = ("step", "steps", "epoch", "samples", "gradient_norm", "loss/", "data/", "time/", *formats)
    parts += [f"{name} {value:.4g}" for name, value in row.items() if not name.startswith(known)]
    return "  ".join(part for part in parts if part)


def duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
