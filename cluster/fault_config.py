"""The faults planned for a run: what is to happen to which rank, at which step and in which phase of it. Free of torch.

A plan is given as text, so that it fits on a command line and the same faults can be injected on a laptop and on a
cluster:

    --faults.specs kill:rank=1,step=3,phase=update fail_upload:rank=0,step=6,phase=write,count=2
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

Kind = Literal["kill", "stop", "raise", "nan", "fail_upload", "delay_upload"]
"""SIGKILL, SIGSTOP, an error that a restart removes, a loss (phase forward) or a gradient (phase backward) that is not
a number, an upload that fails, an upload that takes `seconds` longer."""
Phase = Literal["setup", "forward", "backward", "update", "mark", "write", "commit", "retain"]
"""Setup: before the checkpoint is restored; forward, backward: before that pass; update, mark: after it; write: after a
file of the rank, or instead of one; commit: before COMMIT.json; retain: before a checkpoint is removed."""

DRIVER = -1
"""Stands for a rank: the process that waits for the workers."""
UPLOADS = ("write", "commit")
OF_RANK_0 = ("commit", "retain")
PHASES: dict[Kind, tuple[Phase, ...]] = {
    "nan": ("forward", "backward"),
    "fail_upload": UPLOADS,
    "delay_upload": UPLOADS,
}
"""In which a kind makes sense; of the others in all."""


@dataclass(frozen=True)
class Fault:
    """One planned fault. It happens on the first `count` occasions at its step or later, over all lives of the run."""

    kind: Kind
    rank: int
    """DRIVER is killed when it hears of the step (phase update)."""
    step: int
    """Optimizer step counted from 1; in phase setup the step that is resumed at, in write, commit and retain that of
    the checkpoint."""
    phase: Phase
    count: int = 1
    seconds: float = 0.0
    """Of delay_upload."""

    def __post_init__(self) -> None:
        phases = PHASES.get(self.kind, get_args(Phase))
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind {self.kind!r} is none of {', '.join(get_args(Kind))}")
        if self.phase not in phases:
            raise ValueError(f"phase {self.phase!r} of {self.kind} is none of {', '.join(phases)}")
        if self.rank < DRIVER or (self.rank == DRIVER and (self.kind, self.phase) != ("kill", "update")):
            raise ValueError(
                f"rank={self.rank}: a worker counts from 0; -1, the driver, takes kill in phase update alone"
            )
        if self.phase in OF_RANK_0 and self.rank != 0:
            raise ValueError(f"rank={self.rank}: phase {self.phase} is that of rank 0")
        if self.step < (0 if self.phase == "setup" else 1):
            raise ValueError(f"step={self.step}: steps count from 1, and from 0 in phase setup")
        if self.count < 1:
            raise ValueError(f"count={self.count} must be at least 1")
        if (self.seconds > 0) != (self.kind == "delay_upload"):
            raise ValueError(f"seconds={self.seconds:g}: delay_upload needs seconds above 0, other kinds take none")

    @property
    def label(self) -> str:
        """Names its records."""
        return f"{self.kind}-{'driver' if self.rank == DRIVER else self.rank}-{self.step}-{self.phase}"


@dataclass(frozen=True)
class FaultPlan:
    """Faults to inject, to see on this very cluster that the run survives them. None in earnest."""

    specs: tuple[str, ...] = ()
    """Each KIND:rank=R,step=S,phase=P[,count=N][,seconds=T]. KIND is kill, stop, raise, nan, fail_upload or
    delay_upload, PHASE setup, forward, backward, update, mark, write, commit or retain. It happens at that step or
    later, N times; rank -1 is the driver."""
    record_ids: bool = False
    """Note in audit/ of the run directory which samples every step used, for an account that trusts no checkpoint."""

    def __post_init__(self) -> None:
        labels = [fault.label for fault in self.faults]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"faults.specs plan {', '.join(twice)} twice; give one of them a count")

    @property
    def faults(self) -> tuple[Fault, ...]:
        return tuple(parse_fault(spec) for spec in self.specs)


def parse_fault(spec: str) -> Fault:
    """Raises ValueError naming the spec and what is valid in it."""
    kind, _, rest = spec.partition(":")
    readers = {"rank": int, "step": int, "phase": str, "count": int, "seconds": float}
    values: dict[str, Any] = {}
    try:
        for part in rest.split(",") if rest else ():
            name, _, value = part.partition("=")
            if name not in readers or name in values:
                raise ValueError(f"{name!r} is none of {', '.join(readers)}, or given twice")
            values[name] = readers[name](value)
        missing = [one.name for one in fields(Fault)[1:4] if one.name not in values]
        if missing:
            raise ValueError(f"{', '.join(missing)} not given")
        return Fault(kind=kind, **values)
    except ValueError as error:
        raise ValueError(
            f"fault {spec!r}: {error}. A fault reads KIND:rank=R,step=S,phase=P[,count=N][,seconds=T]"
        ) from error
