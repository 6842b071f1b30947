"""A trial of a sweep: a pre-training run, or a fine-tuning of every fold, that tells on the way what it is worth."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cluster.sinks import read_rows
from jobs.config import to_json
from jobs.parts.command_line import Command
from jobs.parts.face_config import FacePretrainConfig
from jobs.parts.finetune_run import prepare
from jobs.parts.fold_runs import Run
from jobs.parts.mead_config import MeadPretrainConfig
from jobs.parts.pretraining import Pretraining
from jobs.parts.sweep_config import FinetuneSweepConfig, PretrainingSweepConfig
from jobs.parts.training import run_name, train
from jobs.parts.transfer import PREFIX
from pipelines.storage import ObjectMissing, Storage

Report = Callable[[int, float], None]


@dataclass(frozen=True)
class TrialConfig:
    """What the trials of a sweep share."""

    sweep: PretrainingSweepConfig | FinetuneSweepConfig
    home: str
    group: str
    """Name of the sweep, under which Weights & Biases groups its runs."""

    def config_of(self, values: Mapping[str, Any]) -> Any:
        """Of a trial's runs."""
        config = self.sweep.trial(dict(values))
        if config.telemetry.wandb_project is None:
            return config
        return replace(config, telemetry=replace(config.telemetry, wandb_group=self.group))


def build_trial(config: TrialConfig) -> PretrainingTrial | FinetuneTrial:
    if isinstance(config.sweep, FinetuneSweepConfig):
        return FinetuneTrial(config)
    return PretrainingTrial(config)


class PretrainingTrial:
    """A run that is found again by its config, as any other (see cluster.protocols.Trial)."""

    def __init__(self, shared: TrialConfig) -> None:
        self._shared, self._home = shared, Storage(shared.home)

    def __call__(self, values: Mapping[str, Any], *, sharing: int, report: Report) -> dict[str, Any]:
        config = self._shared.config_of(values)
        work = prepare_pretraining(config, self._home)
        name = run_name(config, work.fingerprint)
        directory = self._home.child("runs", name)
        check_same_probe(directory, config)
        score = f"{PREFIX}/{self._shared.sweep.metric}"

        is_scored = False

        def watch(row: Mapping[str, Any]) -> None:
            nonlocal is_scored
            if row.get(score) is not None:
                is_scored = True
                report(int(row.get("samples", 0)), row[score])

        result = _whole(train(config, work, name, directory, sharing=sharing, watch=watch))
        # again, for a run that was finished before, or told of its last row when nobody listened any more
        for row in read_rows(directory, "metrics.jsonl", result["steps"]):
            watch(row)
        if not is_scored:
            raise ValueError(
                f"{directory.uri} measured no {score}: it was trained without; remove it, or give the trials another "
                "--pretrain.seed"
            )
        return {"run_directory": directory.uri, "checkpoint": result["checkpoint"]}


class FinetuneTrial:
    """A run of every fold and seed, one after the other. Never sees a test video."""

    def __init__(self, shared: TrialConfig) -> None:
        self._shared, self._home = shared, Storage(shared.home)

    def __call__(self, values: Mapping[str, Any], *, sharing: int, report: Report) -> dict[str, Any]:
        runs = prepare(Command(self._shared.config_of(values)), self._home)
        scores, checkpoints, samples = [], [], 0
        for run in runs:
            result = _whole(train(run.work.config, run.work, run.name, run.directory, sharing=sharing))
            samples += result["samples"]
            checkpoints.append(result["checkpoint"])
            scores.append(validation_score(run, self._shared.sweep.metric, result["steps"]))
            report(samples, sum(scores) / len(scores))
        return {"runs": [run.directory.uri for run in runs], "checkpoints": checkpoints, "validation": scores}


def _whole(result: dict[str, Any]) -> dict[str, Any]:
    """Raises RuntimeError, by which the trial is started again, for a run that had to leave its node: half of a run
    has no score."""
    if not result["is_finished"]:
        raise RuntimeError(f"{result['run_directory']} was stopped at step {result['steps']}")
    return result


def prepare_pretraining(config: Any, home: Storage) -> Pretraining:
    """What a pre-training job learns from what. Ray must be up."""
    if isinstance(config, MeadPretrainConfig):
        from jobs.parts.take_pretraining import prepare
    elif isinstance(config, FacePretrainConfig):
        from jobs.parts.face_pretraining import prepare
    else:
        from jobs.parts.video_pretraining import prepare
    return prepare(config, home)


def check_same_probe(directory: Storage, config: Any) -> None:
    """Raises ValueError when the run of a trial is there and was probed on something else."""
    try:
        recorded = json.loads(directory.read("run.json"))["config"]
    except ObjectMissing:
        return
    if recorded["transfer"] != to_json(config.transfer):
        raise ValueError(
            f"{directory.uri} is such a run, but was probed on {recorded['transfer']}: remove it, or give the trials "
            "another --pretrain.seed"
        )


def validation_score(run: Run, metric: str, step: int) -> float:
    """The newest that a run measured on its validation videos. Raises ValueError where it measured none."""
    name = f"validation/{metric}"
    found = [row[name] for row in read_rows(run.directory, "metrics.jsonl", step) if row.get(name) is not None]
    if not found:
        raise ValueError(f"{run.directory.uri} has no {name}")
    return found[-1]
