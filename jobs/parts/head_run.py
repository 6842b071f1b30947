"""A head from its config: labels and features found, and a run for every fold and seed."""

from __future__ import annotations

from typing import Any

from jobs.parts.command_line import Command
from jobs.parts.fold_runs import Run, run_folds, single_runs, train_and_score
from jobs.parts.head_config import HeadConfig
from jobs.parts.head_training import HeadTraining
from jobs.parts.labelled_corpus import chosen_protocol, prepare_labelled
from pipelines.storage import Storage


def train_head(command: Command[HeadConfig]) -> None:
    """`run_head` in a session of its own; prints the result as the last line."""
    train_and_score(command, prepare)


def run_head(command: Command[HeadConfig], home: Storage) -> dict[str, Any]:
    """`jobs.parts.fold_runs.run_folds` of a head."""
    return run_folds(command, prepare, home)


def prepare(command: Command[HeadConfig], home: Storage) -> list[Run]:
    """The runs of all folds and seeds. Ray must be up. Raises ValueError as HeadTraining does."""
    config = command.config
    uri, catalog = prepare_labelled(config.corpus, home)
    protocol = chosen_protocol(config.corpus, catalog)
    return single_runs(command, protocol, home, lambda single: HeadTraining(single, protocol, uri, catalog))
