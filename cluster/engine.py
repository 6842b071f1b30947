"""A task under DeepSpeed: forward, backward, the check of the gradients, the update, and the state as plain tensors.

One meaning at every ZeRO stage: weights, gradients, their reduction and AdamW are float32; precision "bf16" runs the
task's forward pass under autocast, so matrix products are bfloat16. Stages differ in where tensors live and in nothing
else. DeepSpeed's own bf16 mode is not used because there the stages do differ: stage 0 sums micro-batches in bfloat16,
stages 1 to 3 each choose another type, all round the initial weights, and modules see bfloat16 parameters.
"""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from cluster.config import EngineConfig, OptimizerConfig
from cluster.protocols import BatchPlan, GlobalLoss

ParameterState = dict[str, Tensor]
"""One parameter (or buffer): float32 {"weight", "exp_avg", "exp_avg_sq"}, only "weight" where it is not trained."""

BUCKET_ELEMENTS = 50_000_000
"""Gradients reduced in one call, at most."""

Shapes = dict[str, dict[str, tuple[int, ...]]]


class Engine:
    """Trains `task` (a torch module that is a cluster.protocols.Task) with AdamW.

    The process group must exist (also for a single process) and `device` must be its device. Gradients are averaged
    over workers and micro-batches. The weights to begin with are those of rank 0.

    Raises RuntimeError without a process group or with one of another size than the plan; ValueError when the task's
    parameter groups do not hold every trainable parameter exactly once.
    """

    def __init__(
        self, task: nn.Module, optimizer: OptimizerConfig, config: EngineConfig, plan: BatchPlan, device: torch.device
    ) -> None:
        if not dist.is_initialized() or dist.get_world_size() != plan.workers:
            raise RuntimeError(f"the engine needs a process group of plan.workers={plan.workers} processes")
        groups = task.parameter_groups(optimizer.weight_decay)
        check_groups(task, groups)
        self.task = task.to(device)
        self.config = config
        self.device = device
        self.accumulation, self.micro_batch = plan.accumulation, plan.micro_batch
        self.updates = 0
        """Updates applied so far, AdamW's own count."""
        if config.precision == "bf16":
            in_bf16 = torch.autocast(device.type, torch.bfloat16)
            task.forward = in_bf16(task.forward)
            if isinstance(task, GlobalLoss):  # of the predictions that the loss is of
                task.statistics = in_bf16(task.statistics)
        self._deepspeed = _initialize(task, groups, optimizer, config, plan, device)
        from cluster.optimizer_state import optimizer_state  # imports deepspeed, which _initialize has prepared

        self._state = optimizer_state(self._deepspeed)
        self._micro_batches = 0
        self._norm: float | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The task's scalars by name, among them "loss"."""
        return self._deepspeed(batch)

    def backward(self, loss: Tensor) -> None:
        """Collective. Adds the gradients of one micro-batch.

        Raises RuntimeError after `accumulation` micro-batches without `step` or `discard`.
        """
        if self._micro_batches == self.accumulation:
            raise RuntimeError(f"{self.accumulation} micro-batches are complete; call step or discard first")
        self._deepspeed.backward(loss)
        self._micro_batches += 1
        if self._micro_batches < self.accumulation:
            self._deepspeed.step()  # between micro-batches this only counts

    @torch.no_grad()
    def gradient_norm(self) -> float:
        """Collective. Global L2 norm of the averaged gradients before clipping; computed once per update.

        Raises RuntimeError unless all micro-batches have gone backward.
        """
        if self._micro_batches < self.accumulation:
            raise RuntimeError(f"gradients are complete after {self.accumulation} micro-batches, not before")
        if self._norm is None:
            squared = torch.nn.utils.get_total_norm(self._state.gradients()).double().square()
            if self._state.is_sharded:
                dist.all_reduce(squared)
            self._norm = math.sqrt(squared.item()) if squared.isfinite() else math.nan
        return self._norm

    def gradients_finite(self) -> bool:
        """Collective; the same answer on all ranks, before the update: one NaN on one rank is enough for False.

        Gradients whose norm exceeds float32 count as not finite.
        """
        return math.isfinite(self.gradient_norm())

    def step(self, lr: float) -> None:
        """Collective. Updates with learning rate lr x lr_scale of each group and drops the gradients.

        Raises FloatingPointError, with the weights untouched, unless the gradients are finite: DeepSpeed would skip the
        update and count it, or at stage 0 write NaN into the weights.
        """
        if not self.gradients_finite():
            raise FloatingPointError("gradients are not finite; the update is refused")
        for group in self._deepspeed.optimizer.param_groups:
            group["lr"] = lr * group["lr_scale"]
        self._deepspeed.step()
        if not self._deepspeed.was_step_applied():
            raise RuntimeError("DeepSpeed skipped an update although the gradients were finite")
        self.updates += 1
        self._state.clear_gradients()
        self._micro_batches, self._norm = 0, None

    def discard(self) -> None:
        """Drops the gradients of however many micro-batches; weights, moments and counts stay as they are."""
        self._state.clear_gradients()
        self._deepspeed.micro_steps -= self._deepspeed.micro_steps % self.accumulation
        self._micro_batches, self._norm = 0, None

    def describe(self) -> dict[str, Any]:
        """For the record of a checkpoint: {"zero_stage", "precision", "micro_batch", "updates"}."""
        return {
            "zero_stage": self.config.zero_stage,
            "precision": self.config.precision,
            "micro_batch": self.micro_batch,
            "updates": self.updates,
        }

    @torch.no_grad()
    def parameters_state(self) -> dict[str, ParameterState]:
        """Collective. Full tensors on the CPU, by name, of the parameters and persistent buffers this rank stores.

        Together the ranks store each exactly once, about the same number of bytes each; the names and tensors are the
        same for any number of ranks and any ZeRO stage.
        """
        parameters, buffers = self._entries()
        sizes = {name: math.prod(_shape(p)) * len(_keys(p)) for name, p in (parameters | buffers).items()}
        owner = assign(sizes, dist.get_world_size())
        mine = {name for name, rank in owner.items() if rank == dist.get_rank()}
        state: dict[str, ParameterState] = {}
        for name, parameter in parameters.items():
            for key in _keys(parameter):
                value = self._state.read(parameter, key)
                if name in mine:
                    state.setdefault(name, {})[key] = value.to("cpu", torch.float32, copy=True)
        state |= {name: {"weight": buffer.to("cpu", copy=True)} for name, buffer in buffers.items() if name in mine}
        return state

    @torch.no_grad()
    def load_parameters_state(self, held: Mapping[str, ParameterState], *, updates: int) -> None:
        """Collective. The counterpart of `parameters_state`, which may come from another number of ranks or stage.

        `held` are the entries this rank has read; together the ranks must hold every one (each rank any of them). The
        hyper-parameters of the groups stay those of this engine. Raises ValueError on all ranks, before anything is
        changed, when names or shapes differ from the task's.
        """
        parameters, buffers = self._entries()
        expected = {n: {k: _shape(p) for k in _keys(p)} for n, p in (parameters | buffers).items()}
        holder = _holders({n: {k: tuple(t.shape) for k, t in s.items()} for n, s in held.items()}, expected)
        for name, parameter in parameters.items():
            for key in _keys(parameter):
                value = torch.empty(_shape(parameter), dtype=torch.float32, device=self.device)
                self._state.write(parameter, key, _broadcast(value, held.get(name, {}).get(key), holder[name]))
        for name, buffer in buffers.items():
            _broadcast(buffer, held.get(name, {}).get("weight"), holder[name])
        self._state.refresh()
        self._state.set_updates(updates)
        self.updates = updates

    def _entries(self) -> tuple[dict[str, nn.Parameter], dict[str, Tensor]]:
        persistent = self.task.state_dict(keep_vars=True).keys()
        return dict(self.task.named_parameters()), {n: b for n, b in self.task.named_buffers() if n in persistent}


def check_groups(task: nn.Module, groups: list[dict[str, Any]]) -> None:
    """Raises ValueError, naming the parameters, unless the groups hold every trainable parameter exactly once."""
    names = {id(parameter): name for name, parameter in task.named_parameters() if parameter.requires_grad}
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    missing = sorted(name for key, name in names.items() if key not in grouped)
    wrong = sorted(
        {names.get(key, "not a trainable parameter") for key in grouped if grouped.count(key) > 1 or key not in names}
    )
    if missing or wrong:
        raise ValueError(
            f"parameter_groups() must hold each trainable parameter once; missing {missing}, wrong {wrong}"
        )


def assign(sizes: Mapping[str, int], workers: int) -> dict[str, int]:
    """Rank of each name so that the sums of sizes are balanced: the largest first, each to the least loaded rank."""
    load = [0] * workers
    owner = {}
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        owner[name] = load.index(min(load))
        load[owner[name]] += sizes[name]
    return owner


def _keys(tensor: Tensor) -> tuple[str, ...]:
    return ("weight", "exp_avg", "exp_avg_sq") if tensor.requires_grad else ("weight",)


def _shape(tensor: Tensor) -> tuple[int, ...]:
    """Full shape, also of a parameter that stage 3 has emptied on this rank."""
    return tuple(getattr(tensor, "ds_shape", tensor.shape))


def _holders(held: Shapes, expected: Shapes) -> dict[str, int]:
    """Collective. The lowest rank holding each entry; ValueError on all ranks unless they are those expected."""
    everywhere: list[Shapes] = [{}] * dist.get_world_size()
    dist.all_gather_object(everywhere, held)
    holder = {name: rank for rank, found in reversed(list(enumerate(everywhere))) for name in found}
    missing, unknown = sorted(expected.keys() - holder), sorted(holder.keys() - expected)
    unequal = [n for n in expected.keys() & holder if everywhere[holder[n]][n] != expected[n]]
    if missing or unknown or unequal:
        differing = {name: (everywhere[holder[name]][name], expected[name]) for name in sorted(unequal)}
        raise ValueError(
            f"the state is of another task: missing {missing}, unknown {unknown}, "
            f"other shapes (found, expected) {differing}"
        )
    return holder


def _broadcast(target: Tensor, value: Tensor | None, source: int) -> Tensor:
    """Collective. Fills `target` on all ranks with the value that rank `source` holds."""
    if dist.get_rank() == source:
        target.copy_(value)
    dist.broadcast(target, src=source)
    return target


def _initialize(
    task: nn.Module,
    groups: list[dict[str, Any]],
    optimizer: OptimizerConfig,
    config: EngineConfig,
    plan: BatchPlan,
    device: torch.device,
) -> Any:
    deepspeed = _import_deepspeed(device)
    adam = torch.optim.AdamW(groups, lr=0.0, betas=optimizer.betas, eps=optimizer.eps, fused=True)
    numel = sum(parameter.numel() for group in groups for parameter in group["params"])
    engine, *_ = deepspeed.initialize(
        model=task,
        optimizer=adam,
        dist_init_required=False,
        config={
            "train_micro_batch_size_per_gpu": plan.micro_batch,
            "gradient_accumulation_steps": plan.accumulation,
            # Written out always: DeepSpeed's default clips at 1.0.
            "gradient_clipping": optimizer.gradient_clip or 0.0,
            # The default bucket of 5e8 elements is allocated whole: 2 GB for a model of any size.
            "zero_optimization": {"stage": config.zero_stage, "reduce_bucket_size": min(numel, BUCKET_ELEMENTS)},
            "zero_allow_untested_optimizer": True,
            "timers": {"throughput": {"enabled": False}},  # it would wait for the device in every step
        },
    )
    if torch.device(engine.device) != device:
        raise RuntimeError(
            f"DeepSpeed took {engine.device}, by LOCAL_RANK={os.environ['LOCAL_RANK']}, and not {device}"
        )
    if config.compile:
        engine.compile()
    return engine


def _import_deepspeed(device: torch.device) -> Any:
    """DeepSpeed for this kind of device, quiet, and without anything to compile when it starts."""
    os.environ.setdefault("DS_ACCELERATOR", device.type)
    os.environ.setdefault("LOCAL_RANK", str(device.index or 0))
    import deepspeed
    from deepspeed.accelerator import get_accelerator
    from deepspeed.ops import __compatible_ops__ as compatible

    if get_accelerator().device_name() != device.type:
        raise RuntimeError(
            f"DeepSpeed was started for {get_accelerator().device_name()}, the engine is to run on {device.type}; "
            f"set DS_ACCELERATOR={device.type} before the first import of deepspeed"
        )
    # On the CPU it would build a shared-memory transport with g++ and ninja; gloo does without.
    compatible["deepspeed_shm_comm"] = compatible["shm_comm"] = False
    log = deepspeed.utils.logger
    log.setLevel(logging.WARNING)
    for handler in log.handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(sys.stderr)  # stdout belongs to the result of the job
    return deepspeed
