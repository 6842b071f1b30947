"""Plans of a soak: the same for the same seed, sound, and of every kind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cluster.fault_config import DRIVER, FaultPlan
from jobs.parts.command_for import command_for
from jobs.parts.soak_config import GLOBAL_BATCH, SoakConfig
from jobs.parts.soak_plan import CHECKPOINT_EVERY, Leg, SoakPlan, draw_plan, training_config
from jobs.recipes.voxceleb import nano

CONFIG = SoakConfig()
PLANS = [draw_plan(CONFIG, seed) for seed in range(60)]


def checkpoints(config: SoakConfig, plan: SoakPlan) -> list[int]:
    stops = {leg.until for leg in plan.legs[:-1]}
    due = {s for s in range(1, config.steps + 1) if s % CHECKPOINT_EVERY == 0 or s % config.steps_per_epoch == 0}
    return sorted(due | stops)


def leg_of(plan: SoakPlan, step: int) -> Leg:
    return next(leg for leg in plan.legs if leg.until is None or step <= leg.until)


def test_the_same_seed_draws_the_same_plan_and_another_another() -> None:
    assert [draw_plan(CONFIG, seed) for seed in range(60)] == PLANS
    assert len({(plan.faults, plan.legs) for plan in PLANS}) == len(PLANS)


@pytest.mark.parametrize("config", [CONFIG, SoakConfig(workers=4, epochs=5, steps_per_epoch=3), SoakConfig(workers=1)])
def test_every_fault_can_happen_and_between_two_lies_a_checkpoint_that_neither_meets(config: SoakConfig) -> None:
    for plan in (draw_plan(config, seed) for seed in range(60)):
        faults = FaultPlan(plan.faults).faults
        saves = checkpoints(config, plan)
        met = {fault: next(index for index, save in enumerate(saves) if save >= fault.step) for fault in faults}
        for fault in faults:
            assert fault.rank < leg_of(plan, fault.step).workers and 1 <= fault.step <= config.steps
        places = sorted(set(met.values()))
        assert all(later - earlier > 1 for earlier, later in zip(places, places[1:], strict=False))
        shared = [fault for fault in faults if list(met.values()).count(met[fault]) > 1]
        assert len({(fault.kind, fault.step, fault.phase, met[fault]) for fault in shared}) <= 1, "killed at once"
        assert len(places) >= 2
        assert faults[0].kind == "kill" and faults[0].rank >= 0 and faults[0].step <= config.steps_per_epoch


def test_legs_end_within_the_run_and_change_the_number_of_workers() -> None:
    for plan in PLANS:
        stops = [leg.until for leg in plan.legs]
        assert stops[-1] is None and stops[:-1] == sorted(set(stops[:-1]))
        assert all(1 < stop < CONFIG.steps for stop in stops[:-1])
        sizes = [leg.workers for leg in plan.legs]
        assert all(before != after for before, after in zip(sizes, sizes[1:], strict=False))
        assert all(GLOBAL_BATCH % size == 0 and size <= CONFIG.workers for size in sizes)


def test_twenty_seeds_meet_every_misfortune_and_every_stage() -> None:
    plans = PLANS[:20]
    faults = [fault for plan in plans for fault in FaultPlan(plan.faults).faults]
    assert {fault.kind for fault in faults} == {"kill", "raise", "fail_upload", "delay_upload"}
    assert {fault.phase for fault in faults} >= {"forward", "backward", "update", "mark", "write", "commit"}
    assert any(fault.rank == DRIVER for fault in faults) and {plan.zero_stage for plan in plans} == {0, 1, 2, 3}
    assert any(len({f.rank for f in FaultPlan(p.faults).faults if f.step == s}) == 2 for p in plans for s in range(13))
    assert {len(plan.legs) for plan in plans} == {1, 2, 3}


def test_a_plan_counts_the_commands_that_it_needs() -> None:
    legs = (Leg(2, until=5), Leg(1, until=None))
    faults = ("kill:rank=-1,step=3,phase=update", "kill:rank=0,step=7,phase=mark")
    assert SoakPlan(0, 1, legs, faults).num_commands == 3
    assert SoakPlan(0, 1, legs[1:], faults[1:]).num_commands == 1


def test_the_training_of_a_leg_can_be_said_on_a_command_line_and_learns_what_the_others_learn() -> None:
    plan = replace(PLANS[0], legs=(Leg(2, until=5), Leg(1, until=None)))
    first, second = (training_config(CONFIG, plan, leg) for leg in plan.legs)
    undisturbed = training_config(CONFIG, plan, plan.legs[0], is_disturbed=False)
    assert first.learning() == second.learning() == undisturbed.learning()
    assert (first.stop_at_step, second.workers.num_workers) == (5, 1)
    assert first.faults == FaultPlan(plan.faults, record_ids=True) and undisturbed.faults == FaultPlan()
    assert plan.faults[0] in command_for("jobs/pretrain_voxceleb.py", nano, first)


@pytest.mark.parametrize(
    "values", [{"seeds": 0}, {"first_seed": -1}, {"workers": 0}, {"epochs": 1}, {"command_minutes": 0.0}]
)
def test_a_soak_of_nothing_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        replace(CONFIG, **values)
