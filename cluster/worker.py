"""What runs in every training worker: builds the parts of a run from its plain description and starts the loop."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from cluster.attempts import check_current
from cluster.failures import TrainingError, describe, is_fatal
from cluster.faults import DIRECTORY as FAULTS
from cluster.faults import Faults
from cluster.monitor import LinkHandler, WorkerLink
from cluster.protocols import BatchPlan, Stream
from cluster.resume import check_resume, versions
from cluster.runtime import ROOMS
from cluster.spikes import SpikeWatch
from cluster.trainer import DIRECTORY, TrainingRun
from cluster.watchdog import PATIENCE_SECONDS, Watchdog
from pipelines.storage import Storage

if TYPE_CHECKING:
    import torch

    from cluster.loop import Loop
    from cluster.ranks import Ranks

logger = logging.getLogger(__name__)


def train_worker(config: dict[str, Any]) -> TrainingError | None:
    """The train function of Ray Train. Returns the failure of ours that ended the run, None if there was none.

    A TrainingError is raised on all ranks together, so all return. Anything else is told to the monitor and raised, and
    the driver decides whether to start the group again.
    """
    import ray.train

    link = WorkerLink(config["monitor"], ray.train.get_context().get_world_rank())
    _log_to(link)
    try:
        _train(config["run"], config["plan"], link, config["attempt"])
    except TrainingError as error:
        return error
    except Exception as error:
        link.failed(describe(error), is_fatal=is_fatal(error))
        raise
    return None


def _train(run: TrainingRun, plan: BatchPlan, link: WorkerLink, attempt: str) -> None:
    storage = Storage(run.run_directory)
    with closing(Watchdog(storage, link.rank, run.workers.hang_timeout_s)) as watchdog:
        device = _prepare_torch(run)
        from cluster.ranks import Ranks

        guard = partial(check_current, storage, attempt)
        ranks = Ranks(timedelta(seconds=run.workers.hang_timeout_s + PATIENCE_SECONDS))
        loop = build_loop(run, plan, link, ranks, device, guard=guard, on_section=watchdog.section)
        with closing(loop.telemetry):
            loop.train()


def build_loop(
    run: TrainingRun,
    plan: BatchPlan,
    link: WorkerLink,
    ranks: Ranks,
    device: torch.device,
    *,
    guard: Callable[[], None] | None = None,
    on_section: Callable[[], None] | None = None,
) -> Loop:
    """Collective. The loop of a run, at its newest checkpoint or at its beginning.

    Raises RefusedAhead, DataChanged, CheckpointError.

    Args:
        guard: called on rank 0 before a checkpoint is committed; what it raises prevents that.
        on_section: called when the loop turns to something else: a wait for data, a step, a save, a probe.
    """
    import torch

    from cluster.audit import Audit
    from cluster.checkpoint import CheckpointStore, Progress, load_weights
    from cluster.engine import Engine
    from cluster.loop import Loop
    from cluster.schedule import resolve

    storage = Storage(run.run_directory)
    faults = Faults(run.faults, ranks.rank, storage.child(FAULTS))
    store = CheckpointStore(faults.storage(storage.child(DIRECTORY)), run.checkpoint, guard=guard)
    commit = ranks.ask_first(store.newest)
    stream: Stream = run.stream.build()
    for line in ranks.ask_first(partial(check_resume, run, commit, stream.fingerprint, plan)):
        if ranks.is_first:
            logger.warning("%s", line)
    torch.manual_seed(run.seed)
    task = run.task.build()
    if run.init_from is not None and commit is None:
        weights, description = load_weights(run.init_from)
        task.start_from(weights, description["metadata"]["config"])
    engine = Engine(task, run.optimizer, run.engine, plan, device)
    faults.at("setup", commit.step if commit else 0)
    progress = store.restore(engine, commit) if commit else Progress.start(stream.num_samples)
    # What an older checkpoint said of the losses, when the newest was damaged, is not at hand: they are learned anew.
    spikes = commit.metadata.get("spikes") if commit and commit.step == progress.step else None
    schedule = resolve(run.optimizer, math.ceil(stream.samples_per_epoch / plan.global_batch))
    metadata = {
        "run": run.name,
        "seed": run.seed,
        "stream": stream.fingerprint,
        "versions": versions(),
        "data": json.loads(run.data_json),
        "config": json.loads(run.config_json),
    }
    _introduce(metadata | {"plan": asdict(plan), "schedule": asdict(schedule)}, storage, ranks)
    if ranks.is_first:
        link.publish(f"{run.name}: step {progress.step}, epoch {progress.epoch}, {plan.workers} workers; {schedule}")
    return Loop(
        run,
        progress,
        engine=engine,
        stream=stream,
        plan=plan,
        probes=[(name, reference.build()) for name, reference in run.probes],
        schedule=schedule,
        spikes=SpikeWatch(run.spikes, spikes),
        store=store,
        metadata=metadata,
        telemetry=_telemetry(
            run, storage, schedule.stop_step, progress.step, link if ranks.is_first else None, on_section
        ),
        link=link,
        ranks=ranks,
        faults=faults,
        audit=Audit(storage, ranks, resumed_step=progress.step) if run.faults.record_ids else None,
    )


def _log_to(link: WorkerLink) -> None:
    """Warnings of our rooms go to the driver's console, and nowhere else: Ray's forwarding of logs may be off."""
    for room in ROOMS:
        room_logger = logging.getLogger(room)
        room_logger.handlers = [LinkHandler(link, level=logging.WARNING)]
        room_logger.propagate = False


def _prepare_torch(run: TrainingRun) -> Any:
    """Threads, kernels and the device of this worker."""
    import ray.train
    import ray.train.torch

    device = ray.train.torch.get_device()
    if device.type == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # read when deepspeed is imported
    set_kernels(ray.train.get_context().get_local_world_size(), deterministic=run.workers.deterministic)
    return device


def set_kernels(workers_here: int, *, deterministic: bool) -> None:
    """Threads and algorithms of torch in one of the workers of this machine."""
    import torch

    threads = max(1, len(os.sched_getaffinity(0)) // workers_here)
    if deterministic:
        threads = 1  # in what parts a CPU adds up depends on their number, which must not depend on the machine
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        torch.use_deterministic_algorithms(True)
    torch.set_num_threads(threads)


def _introduce(description: dict[str, Any], storage: Storage, ranks: Any) -> None:
    """Collective. Writes run.json; raises TrainingError when a worker does not see the run directory of rank 0."""
    if ranks.is_first:
        storage.write("run.json", json.dumps(description, indent=1).encode())
    ranks.gather(None)  # nobody looks before it is written
    blind = [rank for rank, sees in enumerate(ranks.gather(storage.exists("run.json"))) if not sees]
    if blind:
        raise TrainingError(
            f"the workers of ranks {blind} do not see {storage.uri}; with more than one node the run directory must be "
            "a shared folder or s3://bucket/prefix"
        )


def _telemetry(
    run: TrainingRun,
    storage: Storage,
    total_steps: int,
    step: int,
    link: WorkerLink | None,
    on_section: Callable[[], None] | None,
) -> Any:
    """With sinks on rank 0, which has the link, and without on the others."""
    from cluster.sinks import Driver, JsonLines, TensorBoard, WeightsAndBiases
    from cluster.telemetry import Telemetry

    sinks: list[tuple[str, Any]] = []
    if link is not None:
        config = run.telemetry
        sinks += [
            ("the console", lambda: Driver(link)),
            ("metrics.jsonl", lambda: JsonLines(storage, resumed_step=step)),
        ]
        if config.tensorboard:
            sinks.append(("TensorBoard", lambda: TensorBoard(storage, resumed_step=step)))
        if config.wandb_project is not None:
            wandb = partial(
                WeightsAndBiases,
                storage,
                resumed_step=step,
                project=config.wandb_project,
                group=config.wandb_group,
                run_name=run.name,
                config=json.loads(run.config_json),
                with_pictures=config.upload_pictures,
            )
            sinks.append(("Weights & Biases", wandb))
    return Telemetry(sinks, every=run.telemetry.log_every_steps, total_steps=total_steps, on_section=on_section)
