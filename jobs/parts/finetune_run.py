"""A fine-tuning from its config: the corpus found or rendered, and a run for every fold and seed."""

from __future__ import annotations

from typing import Any

from jobs.parts.command_line import Command
from jobs.parts.finetune_config import FinetuneConfig
from jobs.parts.finetuning import Finetuning
from jobs.parts.fold_runs import Run, run_folds, single_runs, train_and_score
from jobs.parts.labelled_corpus import chosen_protocol, prepare_annotations, prepare_labelled
from jobs.parts.training import seen_by
from pipelines.labelled_videos import check_all_usable
from pipelines.storage import Storage


def finetune(command: Command[FinetuneConfig]) -> None:
    """`run_finetuning` in a session of its own; prints the result as the last line."""
    train_and_score(command, prepare)


def run_finetuning(command: Command[FinetuneConfig], home: Storage) -> dict[str, Any]:
    """`jobs.parts.fold_runs.run_folds` of a fine-tuning."""
    return run_folds(command, prepare, home)


def prepare(command: Command[FinetuneConfig], home: Storage) -> list[Run]:
    """The runs of all folds and seeds, their data ready. Ray must be up.

    Raises ValueError for a config that does not fit the corpus, and naming test videos that cannot be used: what cannot
    be scored is not trained.
    """
    config = command.config
    uri, catalog = prepare_labelled(config.corpus, home)
    protocol = chosen_protocol(config.corpus, catalog)
    annotations = None
    if config.sample().follows_face:
        annotations = prepare_annotations(config.corpus, uri, catalog)
    ancestor = seen_by(config.init_from)

    def make_work(single: FinetuneConfig) -> Finetuning:
        work = Finetuning(single, protocol, uri, catalog, annotations, ancestor)
        check_all_usable(work.test_videos())
        return work

    return single_runs(command, protocol, home, make_work)
