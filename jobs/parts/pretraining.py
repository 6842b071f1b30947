"""A pre-training run from its config: data prepared, a model trained, pictures drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from cluster.runtime import end_job, ray_session, record_result
from jobs.parts.command_line import Command
from jobs.parts.run_config import PretrainRunConfig
from jobs.parts.training import Work, run_name, train
from pipelines.storage import Storage
from pipelines.storage import home as default_home

Config = TypeVar("Config", bound=PretrainRunConfig)
TRAINING_SPLIT, HELD_OUT_SPLIT = "dev", "test"


class Pretraining(Work, Protocol):
    """What a masked autoencoder learns from what. One of its probes is "held_out", the loss on the held-out batch."""

    def draw_pictures(self, run_directory: Storage) -> dict[str, Any]:
        """Reconstructions of the held-out clips, into `pictures/`. Returns psnr_* and "pictures", their names."""
        ...


def pretrain(command: Command[Config], prepare: Callable[[Config, Storage], Pretraining]) -> None:
    """`run_pretraining` in a session of its own; prints the result as the last line, see `end_job`."""
    home = Storage(command.home) if command.home else default_home()
    with ray_session():
        result = run_pretraining(command, prepare, home)
    end_job(result)


def run_pretraining(
    command: Command[Config], prepare: Callable[[Config, Storage], Pretraining], home: Storage
) -> dict[str, Any]:
    """Trains, or resumes, or finds the run finished; draws its pictures; records and returns the result. Ray must be
    up.

    `prepare` is called with the config and the home.

    Raises ValueError when the name belongs to a run with another config, and what `cluster.trainer.fit` raises.
    """
    config = command.config
    work = prepare(config, home)
    name = command.name or run_name(config, work.fingerprint)
    run_directory = home.child("runs", name)
    result = train(config, work, name, run_directory)
    if result["is_finished"]:
        if "psnr_model" not in result:
            result |= work.draw_pictures(run_directory)
        record_result(result, run_directory)
    return result
