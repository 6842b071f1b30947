"""Rows of metrics: what they hold, where they go, and that no sink stops a run."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from cluster.config import TelemetryConfig
from cluster.console import duration, summary
from cluster.sinks import JsonLines, TensorBoard, WeightsAndBiases, rows_until
from cluster.telemetry import Row, Telemetry
from pipelines.storage import Storage


class ListSink:
    def __init__(self, *, fails_at: int | None = None, fails_to_flush: int | None = None) -> None:
        self.rows: list[Row] = []
        self.flushed: list[float] = []
        self.flushes = 0
        self.fails_at, self.fails_to_flush = fails_at, fails_to_flush

    def write(self, row: Row) -> None:
        if row["step"] == self.fails_at:
            raise OSError("disk full")
        self.rows.append(row)

    def flush(self) -> None:
        self.flushes += 1
        if self.flushes == self.fails_to_flush:
            raise OSError("the storage is down")
        self.flushed = [row["step"] for row in self.rows]

    def close(self) -> None:
        pass


class Clock:
    """Advances when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def log_steps(telemetry: Telemetry, clock: Clock, steps: range, *, data: float = 1.0, compute: float = 3.0) -> None:
    for step in steps:
        with telemetry.timed("data"):
            clock.now += data
        with telemetry.timed("step"):
            clock.now += compute
        telemetry.step(step, {"loss/total": float(step)}, num_samples=8, state={"epoch": 0})


def test_a_row_holds_means_and_shares_over_its_interval() -> None:
    sink, clock = ListSink(), Clock()
    telemetry = Telemetry([("list", lambda: sink)], every=2, total_steps=10, clock=clock)
    log_steps(telemetry, clock, range(1, 5))
    assert [row["step"] for row in sink.rows] == [2, 4]
    row = sink.rows[1]
    assert row["loss/total"] == 3.5 and row["epoch"] == 0
    assert row["data/wait_share"] == 0.25 and row["time/step"] == 4.0 and row["time/data"] == 1.0
    assert row["clips_per_second"] == 2.0 and row["time/eta"] == 24.0


def test_probe_values_and_the_last_step_cause_a_row_of_their_own() -> None:
    sink, clock = ListSink(), Clock()
    telemetry = Telemetry([("list", lambda: sink)], every=100, total_steps=3, clock=clock)
    telemetry.probes(0, {"held_out/loss": 2.0})
    telemetry.step(1, {"loss/total": 1.0}, num_samples=8, state={}, probes={"held_out/loss": 1.5})
    log_steps(telemetry, clock, range(2, 4))
    assert [row["step"] for row in sink.rows] == [0, 1, 3]
    assert sink.rows[1]["held_out/loss"] == 1.5 and "held_out/loss" not in sink.rows[2]


def test_time_in_checkpoints_is_told_apart_and_does_not_slow_the_rate() -> None:
    sink, clock = ListSink(), Clock()
    telemetry = Telemetry([("list", lambda: sink)], every=1, total_steps=9, clock=clock)
    with telemetry.timed("checkpoint"):
        clock.now += 50
    log_steps(telemetry, clock, range(1, 3))
    assert sink.rows[0]["time/checkpoint"] == 50 and sink.rows[0]["clips_per_second"] == 2.0
    assert "time/checkpoint" not in sink.rows[1]


def test_a_sink_whose_storage_is_down_for_a_while_loses_nothing(caplog: Any) -> None:
    sink, clock = ListSink(fails_to_flush=1), Clock()
    telemetry = Telemetry([("list", lambda: sink)], every=1, total_steps=9, clock=clock)
    log_steps(telemetry, clock, range(1, 3))
    with caplog.at_level(logging.WARNING, "cluster.telemetry"):
        telemetry.flush()
    assert sink.flushed == [] and "the newest metrics are not in list yet: OSError: the storage is down" in caplog.text
    log_steps(telemetry, clock, range(3, 4))
    telemetry.flush()
    assert sink.flushed == [1, 2, 3]


def test_a_sink_that_fails_is_left_out_with_one_warning_and_the_others_go_on(caplog: Any) -> None:
    good, bad, clock = ListSink(), ListSink(fails_at=2), Clock()

    def refuse() -> ListSink:
        raise TimeoutError("no answer")

    with caplog.at_level(logging.WARNING, "cluster.telemetry"):
        sinks = [("never", refuse), ("bad", lambda: bad), ("good", lambda: good)]
        telemetry = Telemetry(sinks, every=1, total_steps=5, clock=clock)
        log_steps(telemetry, clock, range(1, 6))
        telemetry.flush()
        telemetry.close()
    assert [row["step"] for row in good.rows] == [1, 2, 3, 4, 5]
    assert [row["step"] for row in bad.rows] == [1]
    assert [record.getMessage() for record in caplog.records] == [
        "metrics no longer go to never: TimeoutError: no answer",
        "metrics no longer go to bad: OSError: disk full",
    ]


def steps_in(data: bytes) -> list[int]:
    return [json.loads(line)["step"] for line in data.splitlines()]


def test_after_a_resume_the_file_has_no_step_twice_and_no_torn_line(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    first = JsonLines(storage, resumed_step=0)
    for step in (1, 2, 3):
        first.write({"step": step})
    first.flush()
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 4, "lo')
    second = JsonLines(storage, resumed_step=2)
    second.write({"step": 3, "loss/total": float("nan")})
    second.close()
    assert steps_in(storage.read("metrics.jsonl")) == [1, 2, 3]
    assert json.loads(storage.read("metrics.jsonl").splitlines()[-1])["loss/total"] is None


def test_a_damaged_line_within_the_file_is_not_passed_over() -> None:
    with pytest.raises(ValueError):
        rows_until(b'{"step": 1}\n{"st\n{"step": 3}\n', 9)


def test_metrics_of_a_remote_run_are_put_there_at_each_flush(s3_bucket: str) -> None:
    storage = Storage(f"{s3_bucket}/run")
    sink = JsonLines(storage, resumed_step=0)
    sink.write({"step": 1})
    assert not storage.exists("metrics.jsonl")
    sink.flush()
    sink.write({"step": 2})
    sink.close()
    resumed = JsonLines(storage, resumed_step=1)
    resumed.write({"step": 2})
    resumed.close()
    assert steps_in(storage.read("metrics.jsonl")) == [1, 2]


def test_tensorboard_shows_the_scalars_at_our_steps(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    sink = TensorBoard(Storage(tmp_path), resumed_step=0)
    for step in (1, 2, 3):
        sink.write({"step": step, "loss/total": float(step)})
    sink.close()
    resumed = TensorBoard(Storage(tmp_path), resumed_step=2)
    resumed.write({"step": 3, "loss/total": 7.0})
    resumed.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss/total")] == [(1, 1.0), (2, 2.0), (3, 7.0)]


def write_picture(storage: Storage, name: str) -> None:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG")
    storage.write(name, buffer.getvalue())


def test_weights_and_biases_is_offline_without_a_key_and_takes_each_picture_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    storage = Storage(tmp_path)
    write_picture(storage, "pictures/before.png")
    sink = WeightsAndBiases(
        storage,
        resumed_step=1,
        project="test",
        group="ratios",
        run_name="a",
        config={"seed": 1},
        with_pictures=True,
    )
    sink.write({"step": 2, "loss/total": 1.0})
    write_picture(storage, "pictures/faces.png")
    sink.flush()
    sink.close()
    wandb.teardown()  # a finished run is written out by another process; its end is waited for
    [run] = (tmp_path / "wandb").glob("offline-run-*")
    [record] = run.glob("run-*.wandb")
    assert b"ratios" in record.read_bytes()
    assert len(list(run.glob("files/media/images/**/*.png"))) == 1


@pytest.mark.parametrize("option", [{"wandb_group": "ratios"}, {"upload_pictures": True}])
def test_an_option_of_weights_and_biases_needs_a_project(option: dict[str, Any]) -> None:
    assert TelemetryConfig(wandb_project="faces", **option)
    with pytest.raises(ValueError, match=f"{next(iter(option))}.* has no effect without wandb_project"):
        TelemetryConfig(**option)


def test_the_line_of_a_row_reads_well() -> None:
    row = {
        "step": 20,
        "steps": 100,
        "epoch": 1,
        "loss/total": 0.51234,
        "learning_rate": 1.5e-4,
        "clips_per_second": 123.4,
        "data/wait_share": 0.031,
        "data/quarantined": 2,
        "time/eta": 3725.0,
        "held_out/loss": 0.6,
    }
    assert summary(row) == (
        "step 20/100  epoch 1  total 0.5123  lr 0.00015  123 clips/s  waiting for data 3%  quarantined 2  "
        "1:02:05 left  held_out/loss 0.6"
    )
    assert summary({"step": 0, "held_out/loss": 0.6}) == "step 0  held_out/loss 0.6"
    assert duration(59.6) == "1:00"


def test_rows_reach_a_terminal_and_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    from cluster import console

    log = io.StringIO()
    show = console._line_printer(log, None)
    show("run a: 2 workers")
    show({"step": 1, "loss/total": 0.5})
    assert log.getvalue() == "run a: 2 workers\nstep 1  total 0.5\n"
    terminal = io.StringIO()
    with console._bar(terminal) as show:
        show("run a: 2 workers")
        show({"step": 1, "steps": 4, "loss/total": 0.5})
    assert "run a: 2 workers" in terminal.getvalue() and "total 0.5" in terminal.getvalue()
