"""What happens to one run of a soak, drawn from its seed: which workers it has until when, and which faults meet it.

Two failures at one step are for a run the reason to give up, and a checkpoint may still be on its way to the storage
while the next steps are made. So between two misfortunes there lies a checkpoint that neither of them meets.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from cluster.config import CheckpointConfig, EngineConfig, OptimizerConfig, TelemetryConfig, WorkersConfig
from cluster.fault_config import DRIVER, Fault, FaultPlan
from jobs.parts.pretrain_config import CorpusConfig, PretrainConfig
from jobs.parts.run_config import DecodeConfig
from jobs.parts.soak_config import GLOBAL_BATCH, SoakConfig
from jobs.recipes.voxceleb import nano
from models.tokens import ClipGeometry

CHECKPOINT_EVERY = 2
MOST_FAULTS = 4
RETENTION_FROM = 4
"""Index of the first checkpoint that surely replaces an old one, even after an upload that failed."""

STEP_PHASES = ("forward", "backward", "update", "mark")

Draw = random.Random


@dataclass(frozen=True)
class Leg:
    """A part of a run with a number of workers of its own."""

    workers: int
    until: int | None
    """The step it is stopped at; None: the end."""


@dataclass(frozen=True)
class SoakPlan:
    """One run."""

    seed: int
    zero_stage: int
    legs: tuple[Leg, ...]
    faults: tuple[str, ...]
    """Specs of a FaultPlan."""

    @property
    def num_commands(self) -> int:
        """How often the command must be given: for each leg, and after each death of the driver."""
        return len(self.legs) + sum(fault.rank == DRIVER for fault in FaultPlan(self.faults).faults)


@dataclass(frozen=True)
class Slot:
    """The steps that end in one checkpoint."""

    index: int
    steps: range
    workers: int


def draw_plan(config: SoakConfig, seed: int) -> SoakPlan:
    """The same for the same config and seed. The first fault is a worker's death in the first epoch."""
    draw = Draw(f"soak-{seed}")
    legs = _draw_legs(config, draw)
    slots = _slots(config, legs)
    early = [slot for slot in slots if slot.steps.stop <= config.steps_per_epoch + 1]
    first = draw.choice(early)
    others = draw.sample(MISFORTUNES, draw.randint(1, MOST_FAULTS - 1))
    others.sort(key=lambda kind: kind is not _driver_killed)  # it hears of steps late: the earliest place is its
    kinds, places = [_worker_killed, *others], [first, *_apart(first, slots, draw)]
    faults = [fault for kind, slot in zip(kinds, places, strict=False) for fault in kind(slot, draw)]
    return SoakPlan(seed, draw.choice((0, 1, 2, 3)), legs, tuple(_spec(fault) for fault in faults))


def training_config(config: SoakConfig, plan: SoakPlan, leg: Leg, *, is_disturbed: bool = True) -> PretrainConfig:
    """Of jobs/pretrain_voxceleb.py: small, in fp32 and in a fixed order, so that losses can be compared."""
    base, region = nano(), (2, 2, 4)
    return replace(
        base,
        corpus=CorpusConfig(speakers=config.videos, clips_per_speaker=1),
        clip=replace(base.clip, frames=4, stride=2),
        crop=replace(base.crop, size=64),
        mask=replace(base.mask, region=region),
        model=replace(
            base.model,
            geometry=ClipGeometry(frames=4, height=64, width=64),
            region=region,
            decoder_width=32,
            decoder_heads=2,
        ),
        clips_per_video=1,
        passes_per_epoch=1,
        held_out_clips=2,
        seed=plan.seed,
        optimizer=OptimizerConfig(base_lr=0.256, global_batch=GLOBAL_BATCH, epochs=config.epochs, warmup_epochs=0.5),
        engine=EngineConfig(zero_stage=plan.zero_stage, precision="fp32", micro_batch=1),
        workers=WorkersConfig(num_workers=leg.workers, max_failures=2 * MOST_FAULTS, deterministic=True),
        decode=DecodeConfig(num_actors=1),
        checkpoint=CheckpointConfig(every_steps=CHECKPOINT_EVERY),
        telemetry=TelemetryConfig(log_every_steps=1, tensorboard=False),
        stop_at_step=leg.until,
        faults=FaultPlan(plan.faults, record_ids=True) if is_disturbed else FaultPlan(),
    )


def _draw_legs(config: SoakConfig, draw: Draw) -> tuple[Leg, ...]:
    """Neighbours have different numbers of workers, where there is a choice."""
    sizes = [size for size in (1, 2, 4) if size <= config.workers]
    num_legs = draw.randint(1, 3) if len(sizes) > 1 else draw.randint(1, 2)
    stops = sorted(draw.sample(range(2, config.steps), num_legs - 1))
    workers = [draw.choice(sizes[1:] or sizes)]
    for _ in stops:
        workers.append(draw.choice([size for size in sizes if size != workers[-1]] or sizes))
    return tuple(Leg(size, until) for size, until in zip(workers, [*stops, None], strict=True))


def _slots(config: SoakConfig, legs: tuple[Leg, ...]) -> list[Slot]:
    saves = {step for step in range(1, config.steps + 1) if step % config.steps_per_epoch == 0}
    saves |= set(range(CHECKPOINT_EVERY, config.steps, CHECKPOINT_EVERY)) | {leg.until for leg in legs if leg.until}
    found, begun = [], 1
    for index, save in enumerate(sorted(saves)):
        leg = next(leg for leg in legs if leg.until is None or save <= leg.until)
        found.append(Slot(index, range(begun, save + 1), leg.workers))
        begun = save + 1
    return found


def _apart(first: Slot, slots: list[Slot], draw: Draw) -> list[Slot]:
    """Places of further misfortunes, in their order; none is beside another or beside the first."""
    taken = [first]
    for slot in draw.sample(slots, len(slots)):
        if all(abs(slot.index - other.index) > 1 for other in taken):
            taken.append(slot)
    return sorted(taken[1:], key=lambda slot: slot.index)


def _worker_killed(slot: Slot, draw: Draw) -> list[Fault]:
    rank = draw.randrange(slot.workers)
    saving = ["write", "commit"] if rank == 0 else ["write"]
    saving += ["retain"] if rank == 0 and slot.index >= RETENTION_FROM else []
    phase = draw.choice(draw.choice((STEP_PHASES, saving)))
    return [Fault("kill", rank, draw.choice(slot.steps), phase)]


def _all_workers_killed(slot: Slot, draw: Draw) -> list[Fault]:
    step = draw.choice(slot.steps)
    return [Fault("kill", rank, step, "forward") for rank in range(slot.workers)]


def _driver_killed(slot: Slot, draw: Draw) -> list[Fault]:
    return [Fault("kill", DRIVER, draw.choice(slot.steps), "update")]


def _worker_raised(slot: Slot, draw: Draw) -> list[Fault]:
    return [Fault("raise", draw.randrange(slot.workers), draw.choice(slot.steps), draw.choice(STEP_PHASES))]


def _upload_failed(slot: Slot, draw: Draw) -> list[Fault]:
    rank = draw.randrange(slot.workers)
    phase = draw.choice(("write", "commit")) if rank == 0 else "write"
    return [Fault("fail_upload", rank, slot.steps[-1], phase)]


def _upload_delayed(slot: Slot, draw: Draw) -> list[Fault]:
    rank = draw.randrange(slot.workers)
    return [Fault("delay_upload", rank, slot.steps[-1], "write", seconds=draw.choice((0.5, 1.0, 2.0)))]


MISFORTUNES: tuple[Callable[[Slot, Draw], list[Fault]], ...] = (
    _worker_killed,
    _all_workers_killed,
    _driver_killed,
    _worker_raised,
    _upload_failed,
    _upload_delayed,
)


def _spec(fault: Fault) -> str:
    text = f"{fault.kind}:rank={fault.rank},step={fault.step},phase={fault.phase}"
    return text + (f",seconds={fault.seconds:g}" if fault.seconds else "")
