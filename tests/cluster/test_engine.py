"""The engine means the same at every ZeRO stage, in both precisions, and never lets a bad gradient through."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from cluster.engine import assign, check_groups
from tests.cluster.workers import (
    OPTIMIZER,
    RATE,
    TinyTask,
    Workers,
    backward,
    full_state,
    global_batch,
    make_engine,
    micro_batches,
    train,
)

STAGES = (0, 1, 2, 3)
COMBINATIONS = [(stage, precision) for stage in STAGES for precision in ("fp32", "bf16")]


def plain_adamw(steps: int) -> tuple[dict[str, torch.Tensor], list[float]]:
    """State and gradient norms of the same training without DeepSpeed, in float32."""
    task = TinyTask()
    groups = task.parameter_groups(OPTIMIZER.weight_decay)
    adam = torch.optim.AdamW(groups, lr=0.0, betas=OPTIMIZER.betas, eps=OPTIMIZER.eps)
    norms = []
    for step in range(steps):
        task(global_batch(step))["loss"].backward()
        norms.append(nn.utils.clip_grad_norm_(task.parameters(), OPTIMIZER.gradient_clip).item())
        for group in adam.param_groups:
            group["lr"] = RATE * (1 + step % 3) * group["lr_scale"]
        adam.step()
        adam.zero_grad()
    state = {f"{name}/weight": parameter.detach() for name, parameter in task.named_parameters()}
    for name, parameter in task.named_parameters():
        state |= {
            f"{name}/{key}": adam.state[parameter][key] for key in ("exp_avg", "exp_avg_sq") if parameter.requires_grad
        }
    return state, norms


def trained(stage: int, precision: str, accumulation: int, steps: int) -> tuple[dict[str, torch.Tensor], list[float]]:
    engine = make_engine(stage, precision, accumulation=accumulation)
    norms = []
    for step in range(steps):
        backward(engine, step)
        norms.append(engine.gradient_norm())
        engine.step(RATE * (1 + step % 3))
    return full_state(engine), norms


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max((one[name] - other[name]).abs().max().item() for name in other)


def is_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_trains_like_plain_adamw_in_fp32(pair: Workers, stage: int, accumulation: int) -> None:
    expected, expected_norms = plain_adamw(6)
    for state, norms in pair.run(trained, stage, "fp32", accumulation, 6):
        assert distance(state, expected) < 1e-6
        assert norms == pytest.approx(expected_norms, abs=1e-6)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_all_stages_train_alike_in_bf16(pair: Workers, accumulation: int) -> None:
    reference, reference_norms = pair.run(trained, 0, "bf16", accumulation, 6)[0]
    assert 1e-6 < distance(reference, plain_adamw(6)[0]) < 1e-2  # bfloat16 was used, and did no harm
    for stage in (1, 2, 3):
        state, norms = pair.run(trained, stage, "bf16", accumulation, 6)[0]
        assert distance(state, reference) < 1e-6
        assert norms == pytest.approx(reference_norms, abs=1e-6)


def poisoned(stage: int, precision: str) -> list[dict[str, Any]]:
    """Two steps poisoned on rank 1 alone, between two healthy ones, against the healthy ones alone."""
    engine, undisturbed = (make_engine(stage, precision, accumulation=2) for _ in range(2))
    train(engine, range(1))
    before = full_state_of_parameters(engine)
    seen = []
    for value in (math.nan, math.inf):
        backward(engine, 1, poison=(1, value))
        finite, norm = engine.gradients_finite(), engine.gradient_norm()
        try:
            engine.step(RATE)
            refused = False
        except FloatingPointError:
            refused = True
        untouched = is_same(full_state_of_parameters(engine), before) and engine.updates == 1
        engine.discard()
        seen.append({"finite": finite, "norm": norm, "refused": refused, "untouched": untouched})
    train(engine, range(2, 3))
    train(undisturbed, range(1))
    train(undisturbed, range(2, 3))
    same = is_same(full_state_of_parameters(engine), full_state_of_parameters(undisturbed))
    return [{**facts, "same": same} for facts in seen]


def full_state_of_parameters(engine: Any) -> dict[str, torch.Tensor]:
    """Without the buffer in which the task counts its forward passes."""
    return {name: value for name, value in full_state(engine).items() if not name.startswith("seen")}


@pytest.mark.parametrize(("stage", "precision"), COMBINATIONS)
def test_a_bad_gradient_on_one_rank_stops_all_ranks_before_the_update(
    pair: Workers, stage: int, precision: str
) -> None:
    for seen in (facts for rank in pair.run(poisoned, stage, precision) for facts in rank):
        assert not seen["finite"] and math.isnan(seen["norm"])
        assert seen["refused"] and seen["untouched"]
        assert seen["same"], "after discard() the run must go on as if the batch had not been"


def interrupted(stage: int, precision: str) -> dict[str, Any]:
    engine = make_engine(stage, precision)
    losses = train(engine, range(8))
    first = make_engine(stage, precision)
    train(first, range(4))
    second = make_engine(stage, precision, task=TinyTask(seed=1))
    second.load_parameters_state(first.parameters_state(), updates=first.updates)
    resumed = train(second, range(4, 8))
    return {"same": is_same(full_state(engine), full_state(second)), "losses": (losses[4:], resumed)}


@pytest.mark.parametrize(("stage", "precision"), COMBINATIONS)
def test_a_resumed_run_is_bit_equal_to_an_undisturbed_one(pair: Workers, stage: int, precision: str) -> None:
    for seen in pair.run(interrupted, stage, precision):
        assert seen["same"]
        assert seen["losses"][0] == seen["losses"][1]


def discarded_midway(stage: int) -> bool:
    engine, undisturbed = make_engine(stage, "fp32", accumulation=2), make_engine(stage, "fp32", accumulation=2)
    train(engine, range(1))
    engine.backward(engine(micro_batches(7, engine.accumulation)[0])["loss"])
    engine.discard()
    train(engine, range(1, 3))
    train(undisturbed, range(3))
    return is_same(full_state_of_parameters(engine), full_state_of_parameters(undisturbed))


@pytest.mark.parametrize("stage", STAGES)
def test_gradients_of_half_a_step_can_be_discarded(pair: Workers, stage: int) -> None:
    assert all(pair.run(discarded_midway, stage))


class Alternating(TinyTask):
    """Uses its last layer in every second forward pass only."""

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        self.seen += 1
        if self.seen % 2:
            return super().forward(batch)
        y_BD = self.norm(self.inner(batch["x_BD"]))[:, :3] * self.scale
        return {"loss": ((y_BD - batch["y_BD"]).square().mean(1) * batch["weight_B"]).sum()}


def alternating(stage: int) -> dict[str, torch.Tensor]:
    engine = make_engine(stage, "fp32", task=Alternating())
    train(engine, range(6))
    return full_state(engine)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_parameter_that_was_not_used_has_a_gradient_of_zero_at_every_stage(pair: Workers, stage: int) -> None:
    assert distance(pair.run(alternating, stage)[0], pair.run(alternating, 0)[0]) < 1e-6


def misused() -> list[str]:
    engine = make_engine(1, "fp32", accumulation=2)
    micro_batch = {name: values[:2] for name, values in global_batch(0).items()}
    messages = []
    engine.backward(engine(micro_batch)["loss"])
    for call in (engine.gradient_norm, lambda: engine.step(RATE)):
        try:
            call()
        except RuntimeError as error:
            messages.append(str(error))
    engine.backward(engine(micro_batch)["loss"])
    try:
        engine.backward(engine(micro_batch)["loss"])
    except RuntimeError as error:
        messages.append(str(error))
    return messages


def test_an_update_needs_exactly_the_micro_batches_of_the_plan(pair: Workers) -> None:
    early, early_step, late = pair.run(misused)[0]
    assert "not before" in early and "not before" in early_step and "step or discard" in late


def stored() -> tuple[dict[str, list[str]], int]:
    state = make_engine(2, "bf16").parameters_state()
    assert all(t.dtype == torch.float32 for name, entry in state.items() if name != "seen" for t in entry.values())
    return {name: sorted(entry) for name, entry in state.items()}, sum(
        t.nbytes for e in state.values() for t in e.values()
    )


def test_the_ranks_share_the_state_without_overlap(pair: Workers) -> None:
    (first, first_bytes), (second, second_bytes) = pair.run(stored)
    assert not first.keys() & second.keys()
    everything = first | second
    persistent = TinyTask().state_dict().keys()
    assert everything.keys() == persistent and "scratch" not in everything
    assert everything.pop("frozen") == everything.pop("seen") == ["weight"]
    assert all(keys == ["exp_avg", "exp_avg_sq", "weight"] for keys in everything.values())
    assert max(first_bytes, second_bytes) < 0.6 * (first_bytes + second_bytes)


def loaded_from_another_task() -> tuple[str, bool]:
    engine = make_engine(3, "fp32")
    before = full_state(engine)
    foreign = make_engine(3, "fp32", task=TinyTask(width=6)).parameters_state()
    foreign.pop("scale", None)
    try:
        engine.load_parameters_state(foreign | {"stranger": {"weight": torch.zeros(1)}}, updates=3)
    except ValueError as error:
        return str(error), is_same(full_state(engine), before)
    return "", False


def test_the_state_of_another_task_is_refused_on_all_ranks(pair: Workers) -> None:
    for message, untouched in pair.run(loaded_from_another_task):
        assert "missing ['scale']" in message and "unknown ['stranger']" in message and "norm.bias" in message
        assert untouched


def hyper_parameters() -> list[tuple[float, float, float]]:
    saved = make_engine(2, "fp32")
    train(saved, range(2))
    for group in saved._deepspeed.optimizer.param_groups:
        group["weight_decay"] = 0.7
    engine = make_engine(2, "fp32")
    engine.load_parameters_state(saved.parameters_state(), updates=saved.updates)
    train(engine, range(2, 3))
    return [(g["weight_decay"], g["lr"], g["lr_scale"]) for g in engine._deepspeed.optimizer.param_groups]


def test_hyper_parameters_come_from_the_config_and_not_from_the_checkpoint(pair: Workers) -> None:
    decay, plain = pair.run(hyper_parameters)[0]
    assert decay == (OPTIMIZER.weight_decay, 3 * RATE, 1.0)
    assert plain == (0.0, 1.5 * RATE, 0.5)


@pytest.fixture(scope="session")
def gpu_worker() -> Iterator[Workers]:
    workers = Workers(1, "cuda")
    yield workers
    workers.close()


@pytest.mark.gpu
@pytest.mark.parametrize(("stage", "precision"), COMBINATIONS)
def test_a_gpu_trains_resumes_and_refuses_as_the_cpu_does(gpu_worker: Workers, stage: int, precision: str) -> None:
    state, norms = gpu_worker.run(trained, stage, precision, 2, 6)[0]
    expected, expected_norms = plain_adamw(6)
    tolerance = 1e-5 if precision == "fp32" else 1e-2
    assert distance(state, expected) < tolerance
    assert norms == pytest.approx(expected_norms, abs=tolerance)
    assert gpu_worker.run(interrupted, stage, precision)[0]["same"]
    assert gpu_worker.run(discarded_midway, stage)[0]


def test_an_engine_without_its_process_group_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"process group of plan\.workers=2"):
        from cluster.config import EngineConfig
        from cluster.engine import Engine
        from cluster.protocols import BatchPlan

        Engine(TinyTask(), OPTIMIZER, EngineConfig(), BatchPlan(2, 1, 4), torch.device("cpu"))


def test_groups_that_miss_or_repeat_a_parameter_are_refused_by_name() -> None:
    task = TinyTask()
    check_groups(task, task.parameter_groups(0.1))
    groups = task.parameter_groups(0.1)
    groups[1]["params"] = [*groups[1]["params"][:-1], task.inner.weight, task.frozen]
    with pytest.raises(ValueError, match=r"missing \['scale'\], wrong \['inner.weight', 'not a trainable parameter'\]"):
        check_groups(task, groups)


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_parameters_are_spread_evenly_and_the_same_way_everywhere(workers: int) -> None:
    sizes = {f"layer.{i}": 1 + (i * 7919) % 1000 for i in range(200)}
    owner = assign(sizes, workers)
    assert owner == assign(dict(reversed(sizes.items())), workers)
    loads = [sum(size for name, size in sizes.items() if owner[name] == rank) for rank in range(workers)]
    assert max(loads) - min(loads) <= max(sizes.values())
