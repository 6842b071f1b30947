"""AdamW's weights, moments and gradients as plain tensors, wherever a ZeRO stage keeps them.

DeepSpeed holds them in three ways: stage 0 leaves the parameters to AdamW; stages 1 and 2 give every rank a flat slice
of all parameters; stage 3 gives every rank a slice of each parameter. One class for each way hides the difference, so
that the engine asks the same questions at every stage. Collective calls are made by all ranks in the same order.

Written against DeepSpeed 0.19.8. Its own `safe_set_full_*` calls are not used at stage 3: they cut the full tensor
without padding and fail where the size of a parameter is no multiple of the number of ranks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from deepspeed.runtime.zero import GatheredParameters
from deepspeed.runtime.zero.stage_1_and_2 import INITIAL_MICRO_STEP_ID
from deepspeed.utils import (
    safe_get_full_fp32_param,
    safe_get_full_optimizer_state,
    safe_set_full_fp32_param,
    safe_set_full_optimizer_state,
    safe_set_local_fp32_param,
    safe_set_local_optimizer_state,
)
from torch import Tensor, nn

if TYPE_CHECKING:
    from deepspeed.runtime.engine import DeepSpeedEngine

WEIGHT = "weight"
MOMENTS = ("exp_avg", "exp_avg_sq")


class OptimizerState(ABC):
    """What the engine needs to know of one way to hold the state of AdamW."""

    is_sharded: bool
    """Whether a rank holds only part of the gradients."""

    def __init__(self, engine: DeepSpeedEngine) -> None:
        self.engine = engine
        self.adam: torch.optim.AdamW = engine.basic_optimizer
        # DeepSpeed creates the moments in the first step, but a checkpoint has to be loaded before it.
        for master in self.masters():
            self.adam.state[master] = {
                "step": torch.zeros((), dtype=torch.float32, device=master.device),
                **{moment: torch.zeros_like(master, requires_grad=False) for moment in MOMENTS},
            }

    def set_updates(self, updates: int) -> None:
        """Sets AdamW's own count of updates, which corrects the bias of the moments."""
        for master in self.masters():
            self.adam.state[master]["step"].fill_(updates)

    @abstractmethod
    def masters(self) -> list[Tensor]:
        """The tensors that AdamW updates, as far as this rank has them."""

    @abstractmethod
    def gradients(self) -> list[Tensor]:
        """This rank's part of the gradients averaged over ranks and micro-batches, after the last backward pass."""

    @abstractmethod
    def clear_gradients(self) -> None:
        """Drops all gradients, complete or not."""

    @abstractmethod
    def read(self, parameter: nn.Parameter, key: str) -> Tensor:
        """Collective. The whole weight or moment of a parameter, float32 in the parameter's shape."""

    @abstractmethod
    def write(self, parameter: nn.Parameter, key: str, value: Tensor) -> None:
        """Collective. The counterpart of `read`; call `refresh` after the last one."""

    @abstractmethod
    def refresh(self) -> None:
        """Collective. Makes the weights used by the forward pass those that were written."""


class Replicated(OptimizerState):
    """Stage 0: the parameters themselves, complete on every rank."""

    is_sharded = False

    def masters(self) -> list[Tensor]:
        return [parameter for group in self.adam.param_groups for parameter in group["params"]]

    def gradients(self) -> list[Tensor]:
        return [parameter.grad for parameter in self.masters()]

    def clear_gradients(self) -> None:
        self.engine.zero_grad()

    def read(self, parameter: nn.Parameter, key: str) -> Tensor:
        return self._tensor(parameter, key)

    def write(self, parameter: nn.Parameter, key: str, value: Tensor) -> None:
        self._tensor(parameter, key).copy_(value)

    def refresh(self) -> None:
        """Nothing to do: what was written is what the forward pass uses."""

    def _tensor(self, parameter: nn.Parameter, key: str) -> Tensor:
        return parameter.detach() if key == WEIGHT or not parameter.requires_grad else self.adam.state[parameter][key]


class PartitionedOptimizer(OptimizerState):
    """Stages 1 and 2: parameters complete on every rank, one flat slice of each group updated by each rank."""

    is_sharded = True

    def __init__(self, engine: DeepSpeedEngine) -> None:
        super().__init__(engine)
        self.engine.optimizer._lazy_init_hp_params_optimizer_state()

    def masters(self) -> list[Tensor]:
        return list(self.engine.optimizer.single_partition_of_fp32_groups)

    def gradients(self) -> list[Tensor]:
        return [part for group in self.engine.optimizer.averaged_gradients.values() for part in group]

    def clear_gradients(self) -> None:
        optimizer = self.engine.optimizer
        optimizer.zero_grad()
        optimizer.micro_step_id = INITIAL_MICRO_STEP_ID
        for group in range(len(optimizer.bit16_groups)):
            optimizer.averaged_gradients[group] = None
            optimizer.all_grad_tensors[group] = None

    def read(self, parameter: nn.Parameter, key: str) -> Tensor:
        if not parameter.requires_grad:
            return parameter.detach()
        if key == WEIGHT:
            return safe_get_full_fp32_param(parameter)
        return safe_get_full_optimizer_state(parameter, key)

    def write(self, parameter: nn.Parameter, key: str, value: Tensor) -> None:
        if not parameter.requires_grad:
            parameter.detach().copy_(value)
        elif key == WEIGHT:
            safe_set_full_fp32_param(parameter, value)
        else:
            safe_set_full_optimizer_state(parameter, value, key)

    def refresh(self) -> None:
        self.engine.optimizer.update_lp_params()


class PartitionedParameters(OptimizerState):
    """Stage 3: a slice of every parameter on each rank, the last one padded."""

    is_sharded = True

    def masters(self) -> list[Tensor]:
        return list(self.engine.optimizer.fp32_partitioned_groups_flat)

    def gradients(self) -> list[Tensor]:
        return [part for group in self.engine.optimizer.averaged_gradients.values() for part in group]

    def clear_gradients(self) -> None:
        optimizer = self.engine.optimizer
        optimizer.zero_grad()
        optimizer.averaged_gradients = {}
        # DeepSpeed overwrites the slices of parameters that were used, and applies what it finds in the others again.
        optimizer.grad_partitions_flat_buffer.zero_()

    def read(self, parameter: nn.Parameter, key: str) -> Tensor:
        if not parameter.requires_grad:
            with GatheredParameters([parameter]):
                return parameter.detach().clone()
        if key == WEIGHT:
            return safe_get_full_fp32_param(parameter)
        return safe_get_full_optimizer_state(parameter, key)

    def write(self, parameter: nn.Parameter, key: str, value: Tensor) -> None:
        if not parameter.requires_grad:
            with GatheredParameters([parameter], modifier_rank=0):
                parameter.detach().copy_(value)
            return
        size = parameter.ds_tensor.numel()
        rank = torch.distributed.get_rank()
        part = value.new_zeros(size)
        mine = value.flatten()[rank * size : (rank + 1) * size]
        part[: mine.numel()] = mine
        if key == WEIGHT:
            safe_set_local_fp32_param(parameter, part)
        else:
            safe_set_local_optimizer_state(parameter, part, key)

    def refresh(self) -> None:
        """As at the end of a step: what was written are AdamW's slices, not those that the forward pass gathers, and
        small parameters stay gathered between steps, so they are released first."""
        optimizer = self.engine.optimizer
        optimizer._partition_all_parameters()
        for group in range(len(optimizer.fp16_groups)):
            optimizer._reassign_or_swap_out_partitioned_parameters(group)
        if optimizer.persistent_parameters:
            optimizer.persistent_parameters[0].all_gather(optimizer.persistent_parameters)


def optimizer_state(engine: DeepSpeedEngine) -> OptimizerState:
    """The view that fits the engine's ZeRO stage."""
    classes = {0: Replicated, 1: PartitionedOptimizer, 2: PartitionedOptimizer, 3: PartitionedParameters}
    return classes[engine.zero_optimization_stage()](engine)
