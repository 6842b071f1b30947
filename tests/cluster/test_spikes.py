"""Spikes of the loss: which are seen, what is learned from them, what is written about them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cluster.commit import KEEP, newest, scan
from cluster.config import CheckpointConfig
from cluster.loop import forward_seed
from cluster.protocols import BatchPlan, Reference
from cluster.spikes import SpikeConfig, SpikeWatch
from cluster.trainer import DIRECTORY
from pipelines.storage import Storage
from tests.cluster.test_loop import json_lines, train, trained_ids
from tests.cluster.toy import ToyData, remaining_blocks
from tests.cluster.workers import Workers

CONFIG = SpikeConfig(deviations=6.0, window_steps=20, warmup_steps=30, max_reports=2)


def noisy_losses(steps: int, level: float = 1.0) -> list[float]:
    return (level + 0.05 * np.random.default_rng(0).normal(size=steps)).tolist()


def seen(watch: SpikeWatch, losses: list[float]) -> list[int]:
    return [index for index, loss in enumerate(losses) if watch.observe(loss) is not None]


def test_a_jump_is_seen_and_noise_and_a_falling_loss_are_not() -> None:
    assert seen(SpikeWatch(CONFIG), noisy_losses(2000)) == []
    falling = [loss + 5 * 0.99**step for step, loss in enumerate(noisy_losses(2000))]
    assert seen(SpikeWatch(CONFIG), falling) == []
    falling[700] += 1.0
    assert seen(SpikeWatch(CONFIG), falling) == [700]


def test_a_spike_says_what_it_was_compared_with() -> None:
    watch = SpikeWatch(CONFIG)
    assert seen(watch, noisy_losses(200)) == []
    spike = watch.observe(3.0)
    assert spike is not None and spike.loss == 3.0 and spike.mean == pytest.approx(1.0, abs=0.05)
    assert spike.deviation == pytest.approx(0.05, rel=0.5)
    assert spike.threshold == pytest.approx(spike.mean + 6 * spike.deviation)


def test_nothing_is_a_spike_in_the_first_steps() -> None:
    losses = noisy_losses(31)
    losses[29] = 50.0
    assert seen(SpikeWatch(CONFIG), losses) == []
    losses = noisy_losses(31)
    losses[30] = 50.0
    assert seen(SpikeWatch(CONFIG), losses) == [30]


def test_a_spike_does_not_hide_the_next_one_and_a_loss_that_stays_up_is_learned() -> None:
    losses = noisy_losses(200)
    losses[100], losses[103] = 1000.0, 3.0
    assert seen(SpikeWatch(CONFIG), losses) == [100, 103]
    stays = noisy_losses(100) + noisy_losses(300, level=2.0)
    found = seen(SpikeWatch(CONFIG), stays)
    assert found[0] == 100 and len(found) < 30 and found[-1] < 150


def test_rounding_of_a_constant_loss_is_no_spike() -> None:
    watch = SpikeWatch(CONFIG)
    assert seen(watch, [2.0] * 100 + [2.0 + 1e-6]) == []
    assert seen(watch, [2.1]) == [0]


def test_only_so_many_are_reported_and_all_are_counted() -> None:
    watch, losses = SpikeWatch(CONFIG), noisy_losses(300)
    for step in (100, 150, 200, 250):
        losses[step] = 9.0
    reported = [spike.is_reported for loss in losses if (spike := watch.observe(loss)) is not None]
    assert reported == [True, True, False, False] and watch.spikes == 4


@pytest.mark.parametrize("cut", [5, 100, 101])
def test_a_watch_that_goes_on_from_a_checkpoint_judges_like_one_that_never_stopped(cut: int) -> None:
    losses = noisy_losses(200)
    losses[100] = losses[150] = 4.0
    whole = SpikeWatch(CONFIG)
    expected = [whole.observe(loss) for loss in losses]
    first = SpikeWatch(CONFIG)
    parts = [first.observe(loss) for loss in losses[:cut]]
    second = SpikeWatch(CONFIG, json.loads(json.dumps(first.state())))
    parts += [second.observe(loss) for loss in losses[cut:]]
    assert parts == expected and second.state() == whole.state()


@pytest.mark.parametrize(
    "wrong",
    [{"deviations": 0.5}, {"window_steps": 1}, {"warmup_steps": 1}, {"max_reports": -1}, {"deviations": np.nan}],
)
def test_a_watch_that_cannot_work_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SpikeConfig(**wrong)


DATA = ToyData(num_samples=80)  # 10 steps per epoch
EAGER = SpikeConfig(deviations=6.0, window_steps=10, warmup_steps=8, max_reports=1)


def test_a_spike_is_written_down_and_told_and_the_checkpoint_before_it_stays(pair: Workers, tmp_path: Path) -> None:
    blocks = remaining_blocks(DATA, 0, np.zeros(80, bool), BatchPlan(2, 2, 2))
    spiky = int(blocks[8 * 4 + 1][0])  # step 9, on rank 1; and again in the second epoch
    task = Reference("tests.cluster.toy:make_spiky_task", (spiky,))
    checkpoint = CheckpointConfig(every_steps=3, keep_last=2)
    outcomes = train(pair, tmp_path, data=DATA, task=task, spikes=EAGER, checkpoint=checkpoint)
    assert [outcome.error for outcome in outcomes] == [None, None] and outcomes[0].step == 20
    assert trained_ids(outcomes) == sorted([*range(80)] * 2)
    [file] = list((tmp_path / "failures").iterdir())
    report = json.loads(file.read_text())
    assert file.name == "spike-00000009.json"
    assert (report["step"], report["epoch"], report["seed"]) == (9, 0, 0)
    assert report["loss"] > report["threshold"] > report["mean"]
    for rank, outcome in enumerate(outcomes):
        [ids] = [ids for step, ids in outcome.begun if step == 9]
        assert report["ranks"][rank]["sample_ids"] == ids
        assert report["ranks"][rank]["forward_seeds"] == [forward_seed(0, 8, rank, micro) for micro in (0, 1)]
    parts = [[loss["loss"] for loss in rank["losses"]] for rank in report["ranks"]]
    assert np.mean(parts) == pytest.approx(report["loss"]) and max(parts[1]) > 100 * max(parts[0])
    checkpoints = Storage(tmp_path / DIRECTORY)
    listing = scan(checkpoints)
    assert report["kept"].startswith("step-00000006-") and listing.kept == {report["kept"]}
    assert "the loss jumped at step 9" in checkpoints.read(f"{report['kept']}/{KEEP}").decode()
    assert [commit.step for commit in listing.commits] == [20, 18, 6]
    [line] = [line for line in outcomes[0].told if "jumped" in line]
    assert line.startswith("the loss of step 9 jumped to") and line.endswith("failures/spike-00000009.json")
    assert not any("jumped" in line for line in outcomes[1].told)
    counts = {row["step"]: row["data/loss_spikes"] for row in json_lines(tmp_path / "metrics.jsonl") if "epoch" in row}
    assert (counts[8], counts[9]) == (0, 1) and counts[20] == 2


def test_a_resumed_run_watches_the_loss_as_if_it_had_not_stopped(pair: Workers, tmp_path: Path) -> None:
    train(pair, tmp_path / "whole", data=DATA, spikes=EAGER)
    train(pair, tmp_path / "parts", data=DATA, spikes=EAGER, stop_at_step=7)
    train(pair, tmp_path / "parts", data=DATA, spikes=EAGER)
    states = [newest(Storage(tmp_path / name / DIRECTORY)).metadata["spikes"] for name in ("whole", "parts")]
    assert states[0] == states[1] and states[0]["steps"] == 20
