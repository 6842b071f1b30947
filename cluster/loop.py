"""The training loop: next batch, task, backward, finite?, step, mark, log, checkpoint, stop? Blind to the task.

All ranks walk through it together. Whatever ends or refuses a step is decided from numbers that all of them have
summed, so no rank waits for one that has left. The step count is ours; an update that is refused is not counted.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from cluster.commit import Progress
from cluster.failures import EpochIncomplete, NonFinite, TrainingError
from cluster.faults import Faults
from cluster.feed import MicroBatch, groups, serve
from cluster.ledger import Ledger
from cluster.monitor import WorkerLink
from cluster.protocols import BatchPlan, GlobalLoss, Probe, Stream
from cluster.ranks import Ranks
from cluster.saver import Records, Saver
from cluster.schedule import Schedule
from cluster.spikes import Spike, SpikeWatch
from cluster.step_reports import rank_report, write_refused, write_spike
from cluster.telemetry import Row, Telemetry
from pipelines.storage import Storage, StorageError

if TYPE_CHECKING:
    from cluster.audit import Audit
    from cluster.checkpoint import CheckpointStore
    from cluster.engine import Engine
    from cluster.trainer import TrainingRun

logger = logging.getLogger(__name__)

PREFETCH_BLOCKS = 4  # a worker holds as many in the object store, besides the micro-batches in use
MAX_ROUNDS = 3  # how often the rest of an epoch is asked for


@dataclass(frozen=True)
class GlobalBatch:
    """This rank's micro-batches of one optimizer step, and what all ranks know of it."""

    micro_batches: Sequence[MicroBatch]
    num_real: int
    """Samples to train on, on all ranks."""
    num_rejected: int

    @property
    def real_ids(self) -> list[int]:
        """Of this rank."""
        return [int(i) for batch in self.micro_batches for i in batch.sample_id_B[batch.real_B]]


class Loop:
    """Trains from `progress` to the end of the last epoch, to stop_at_step, or until the driver asks for a stop."""

    def __init__(
        self,
        run: TrainingRun,
        progress: Progress,
        *,
        engine: Engine,
        stream: Stream,
        plan: BatchPlan,
        probes: Sequence[tuple[str, Probe]],
        schedule: Schedule,
        spikes: SpikeWatch,
        store: CheckpointStore,
        metadata: Mapping[str, Any],
        telemetry: Telemetry,
        link: WorkerLink,
        ranks: Ranks,
        faults: Faults,
        audit: Audit | None,
    ) -> None:
        """`metadata` goes into every checkpoint as it is."""
        self.run, self.engine, self.stream, self.plan, self.probes = run, engine, stream, plan, probes
        self.schedule, self.metadata, self.telemetry = schedule, metadata, telemetry
        self.spikes = spikes
        self.link, self.ranks, self.storage = link, ranks, Storage(run.run_directory)
        self.step, self.samples, self.quarantined = progress.step, progress.samples, progress.quarantined
        self.saver = Saver(store, ranks, self._write_records)
        self.faults, self.audit = faults, audit
        self.ledger = Ledger(ranks, self.storage, progress)
        self.stopping = False
        self._stop_requested = False
        self._probed_step = progress.step if progress.step else None

    def train(self) -> None:
        """Collective. Raises TrainingError, on all ranks, for failures that a restart does not remove."""
        try:
            with self.saver:
                self._train()
        except TrainingError:
            self._leave_records()
            raise

    def _train(self) -> None:
        if self.probes and self._probed_step is None:
            self.telemetry.probes(self.step, self._probe())
        while self.ledger.epoch < self.run.last_epoch and not self._is_stop_due():
            with closing(self._epoch()) as batches:
                for batch in batches:
                    with self.telemetry.timed("step"):
                        values = self._update(batch) if batch.num_real else None
                        self._mark(batch)
                        self.faults.at("mark", self.step)
                    if values is not None:
                        self._log(values, batch.num_real)
                        if self._checkpoint():
                            return
            self.ledger.close_epoch(members=self.stream.samples_per_epoch)
            self._save()
        if self.probes and not self.stopping and self._probed_step != self.step:
            self.telemetry.probes(self.step, self._probe())

    def _epoch(self) -> Iterator[GlobalBatch]:
        """What is left of the epoch, asked for again while blocks were lost on the way."""
        left = self.stream.remaining(self.ledger.epoch, self.ledger.consumed)
        for _ in range(MAX_ROUNDS):
            if not left:
                return
            with self.telemetry.timed("data"):
                iterator = serve(self.stream, self.ledger.epoch, self.ledger.consumed, plan=self.plan, ranks=self.ranks)
            yield from self._global_batches(iterator)
            self.ledger.reduce()
            left = self.stream.remaining(self.ledger.epoch, self.ledger.consumed)
        if left:
            raise EpochIncomplete(f"epoch {self.ledger.epoch}: {left} samples missing after {MAX_ROUNDS} rounds")

    def _global_batches(self, iterator: Any) -> Iterator[GlobalBatch]:
        own = groups(
            iterator, accumulation=self.plan.accumulation, device=self.engine.device, prefetch_blocks=PREFETCH_BLOCKS
        )
        template: MicroBatch | None = None
        with closing(own):
            while True:
                with self.telemetry.timed("data"):
                    group = list(next(own, ()))
                    real = sum(int(batch.real_B.sum()) for batch in group)
                    rejected = sum(batch.num_rejected for batch in group)
                    blocks, num_real, num_rejected = self.ranks.sum(np.array([len(group), real, rejected])).tolist()
                if not blocks:
                    return
                template = group[0] if group else template
                if template is None:
                    raise RuntimeError("the stream gave this worker nothing while it gave others a micro-batch")
                # Lost blocks leave the last groups uneven, but every rank takes part in every collective.
                group += [template.blank()] * (self.plan.accumulation - len(group))
                yield GlobalBatch(group, num_real, num_rejected)

    def _update(self, batch: GlobalBatch) -> Row:
        """One optimizer step over a global batch. Raises NonFinite with the parameters untouched."""
        self.link.begin(self.step + 1, batch.real_ids)
        # The engine averages over workers and micro-batches; this makes it the mean over the samples, however many.
        scale = self.plan.workers * self.plan.accumulation / batch.num_real
        sums = self._statistics(batch, scale)
        losses: list[dict[str, torch.Tensor]] = []
        for index, micro_batch in enumerate(batch.micro_batches):
            torch.manual_seed(forward_seed(self.run.seed, self.step, self.ranks.rank, index))
            self.faults.at("forward", self.step + 1)
            losses.append(self.engine(micro_batch.weighted(scale) | sums))
            losses[-1]["loss"] = self.faults.poison(losses[-1]["loss"], self.step + 1)
            self.faults.at("backward", self.step + 1)
            self.engine.backward(losses[-1]["loss"])
            losses[-1] = {name: value.detach() for name, value in losses[-1].items()}
        names = sorted(losses[0])
        own = torch.stack([torch.stack([loss[name].double() for name in names]) for loss in losses]).cpu().numpy()
        # With the losses travels whether to stop after this step: asked for at its start, answered by now.
        *total, stop = self.ranks.sum(np.append(own.mean(axis=0), self.link.stop_requested))
        means = np.array(total) / self.ranks.size
        self._stop_requested |= bool(stop)
        if not np.isfinite(means).all() or not self.engine.gradients_finite():
            self._refuse(self._facts(batch, names, own))
        norm = self.engine.gradient_norm()
        spike = self.spikes.observe(float(means[names.index("loss")]))
        if spike is not None and spike.is_reported:
            self._tell(spike, self._facts(batch, names, own))
        self.engine.step(self.schedule.rate(self.step))
        self.step += 1
        self.faults.at("update", self.step)
        values = {_loss_name(name): value for name, value in zip(names, means.tolist(), strict=True)}
        return {**values, "gradient_norm": norm}

    def _statistics(self, batch: GlobalBatch, scale: float) -> dict[str, torch.Tensor]:
        """Collective. What a loss of the global batch needs to know of it beforehand; of other losses nothing."""
        task = self.engine.task
        if not isinstance(task, GlobalLoss):
            return {}
        sums: list[torch.Tensor] = []
        for index, micro_batch in enumerate(batch.micro_batches):
            torch.manual_seed(forward_seed(self.run.seed, self.step, self.ranks.rank, index))
            sums.append(task.statistics(micro_batch.weighted(scale)))
        mean_S = self.ranks.sum(torch.stack(sums).mean(0).cpu().numpy()) / self.ranks.size
        return {"statistics_S": torch.as_tensor(mean_S, device=self.engine.device)}

    def _facts(self, batch: GlobalBatch, names: Sequence[str], own: np.ndarray) -> dict[str, Any]:
        """Collective. Who had what in the step that is being made (see cluster.step_reports)."""
        rank = self.ranks.rank
        losses = [dict(zip(names, row, strict=True)) for row in own.tolist()]
        seeds = [forward_seed(self.run.seed, self.step, rank, index) for index in range(len(losses))]
        reports = self.ranks.gather(rank_report(rank, batch.real_ids, seeds, losses))
        return {"step": self.step + 1, "epoch": self.ledger.epoch, "seed": self.run.seed, "ranks": reports}

    def _refuse(self, facts: dict[str, Any]) -> None:
        """Collective. Drops the gradients and raises NonFinite naming the samples; rank 0 writes the report."""
        self.engine.discard()
        place = write_refused(self.storage, facts) if self.ranks.is_first else None
        # A gradient is reduced over the ranks before anyone sees it: with finite losses any of them may be the cause.
        concerned = [r for r in facts["ranks"] if r["non_finite"]]
        what = "loss" if concerned else "gradient"
        lines = "".join(
            f"\nrank {r['rank']}: sample ids {r['sample_ids']}, losses {r['losses']} {r['non_finite'] or ''}"
            for r in concerned or facts["ranks"]
        )
        raise NonFinite(
            f"the {what} of step {facts['step']} (epoch {facts['epoch']}) is not finite; no update was made. "
            f"Details in {self.ranks.broadcast(place) or 'no file, for it could not be written'}{lines}"
        )

    def _tell(self, spike: Spike, facts: dict[str, Any]) -> None:
        """Rank 0 writes the report of a spike and says so."""
        if self.ranks.is_first:
            place = write_spike(self.storage, spike, facts)
            self.link.publish(
                f"the loss of step {facts['step']} jumped to {spike.loss:.4g}, from a mean of {spike.mean:.4g} with a "
                f"deviation of {spike.deviation:.2g}; {place or 'the report could not be written'}"
            )

    def _mark(self, batch: GlobalBatch) -> None:
        for micro_batch in batch.micro_batches:
            self.ledger.mark(micro_batch.sample_id_B, micro_batch.rejected_B, step=self.step)
        self.ledger.count(trained=batch.num_real, rejected=batch.num_rejected)
        self.quarantined += batch.num_rejected
        self.samples += batch.num_real
        if self.audit is not None and batch.num_real:
            self.audit.note(self.step, self.ledger.epoch, batch.real_ids)
        self.ledger.check_budget(self.run.quarantine, self.stream.samples_per_epoch)

    def _log(self, values: Row, num_samples: int) -> None:
        is_due = self.step % self.run.telemetry.probe_every_steps == 0 or self.step == self.schedule.stop_step
        state = {
            "steps": self.schedule.stop_step,
            "epoch": self.ledger.epoch,
            "samples": self.samples,
            "learning_rate": self.schedule.rate(self.step - 1),
            "data/quarantined": self.quarantined,
            "data/loss_spikes": self.spikes.spikes,
        }
        probes = self._probe() if self.probes and is_due else None
        self.telemetry.step(self.step, values, num_samples=num_samples, state=state, probes=probes)

    def _probe(self) -> Row:
        """Collective."""
        self._probed_step = self.step
        row: Row = {}
        with self.telemetry.timed("probe"):
            for name, probe in self.probes:
                row |= {f"{name}/{key}": value for key, value in probe(self.engine.task, self.step).items()}
            self.engine.task.train()
        return row

    def _is_stop_due(self) -> bool:
        limit = self.run.stop_at_step
        self.stopping |= self._stop_requested or (limit is not None and self.step >= limit)
        return self.stopping

    def _checkpoint(self) -> bool:
        """Collective. Saves if it is time to; whether to stop here, inside of the epoch."""
        stop = self._is_stop_due()
        if not stop and self.step % self.run.checkpoint.every_steps:
            return False
        self.ledger.reduce()
        if not self.stream.remaining(self.ledger.epoch, self.ledger.consumed):
            return False  # the end of the epoch follows, and saves
        self._save()
        return stop

    def _save(self) -> None:
        """Collective, after `ledger.reduce`."""
        progress = Progress(
            step=self.step,
            epoch=self.ledger.epoch,
            consumed=self.ledger.consumed,
            samples=self.samples,
            quarantined=self.quarantined,
            epoch_quarantined=self.ledger.rejected,
        )
        metadata = {**self.metadata, "spikes": self.spikes.state()}
        with self.telemetry.timed("checkpoint"):
            self.saver.begin(self.engine, progress, metadata, self.ledger.take_records())

    def _leave_records(self) -> None:
        """What the error that ends the run may point to."""
        try:
            self._write_records(self.ledger.take_records())
        except StorageError as error:
            logger.error("the newest lines of quarantine.jsonl could not be written: %s", error)

    def _write_records(self, records: Records) -> None:
        """In the saving thread: the storage may be slow, or down for a while."""
        self.telemetry.flush()
        for name, data in records.items():
            self.storage.write(name, data)


def forward_seed(seed: int, step: int, rank: int, micro_step: int) -> int:
    """Of what a task draws in its forward pass (drop path): differs for each, and is the same after a resume."""
    return int(np.random.SeedSequence((seed, step, rank, micro_step)).generate_state(1, np.uint64)[0])


def _loss_name(name: str) -> str:
    return "loss/total" if name == "loss" else name if "/" in name else f"loss/{name}"
