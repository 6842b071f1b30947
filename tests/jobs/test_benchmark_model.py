"""The benchmark of the model: a run from the command line, and figures that follow from rates."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from jobs.parts.benchmark_model import REFERENCE_MULTIPLY_ADDS, fastest, figures, random_batch
from jobs.recipes.voxceleb import RECIPES
from models.flops import count_multiply_adds
from models.masked_autoencoder import build
from models.tokens import PRETRAINING_BATCH
from pipelines.masks import num_visible

JOB = Path(__file__).parents[2] / "jobs" / "benchmark.py"
CPU = torch.device("cpu")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(JOB), "model", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_the_last_line_holds_the_rates_of_the_nano_model_in_both_precisions():
    finished = run("--recipe", "nano", "--batch", "1", "--steps", "1", "--threads", "1")
    assert finished.returncode == 0, finished.stderr
    result = json.loads(finished.stdout.splitlines()[-1])
    assert (result["recipe"], result["batch"], result["threads"]) == ("nano", 1, 1)
    for precision in ("fp32", "bf16"):
        flop_of_a_step = 3 * result["forward_gigaflop_per_clip"]
        rate = result[f"{precision}_clips_per_second"]
        assert rate > 0 and result[f"{precision}_clips_per_cpu_second"] > 0
        assert result[f"{precision}_gigaflops"] == pytest.approx(rate * flop_of_a_step, rel=1e-2)
        assert result[f"{precision}_product_gigaflops"] > 0
    assert "nothing is scaled" in finished.stderr


def test_figures_set_the_step_against_a_matrix_product_and_leave_the_reference_unscaled():
    found = figures("bf16", 4.0, 2.0, multiply_adds=10e9, product_rate=480.0)
    assert found["bf16_gigaflops"] == 4 * 60
    assert found["bf16_share_of_product"] == 0.5
    assert found["bf16_reference_clips_per_second"] == 6.04
    assert found["bf16_reference_gigaflops"] == pytest.approx(6.04 * 84.12, abs=0.01)


def test_the_reference_does_the_work_of_mae_dfer_base_and_embeds_masked_cubes_too():
    config = RECIPES["mae_dfer_base"]()
    counted = count_multiply_adds(build(config.model), random_batch(config, 1, CPU))
    masked_embedding = 720 * 1536 * 512
    assert counted + masked_embedding == pytest.approx(REFERENCE_MULTIPLY_ADDS, rel=1e-3)


def test_the_batch_is_what_the_model_takes_and_follows_the_recipes_mask():
    config = RECIPES["nano"]()
    batch = random_batch(config, 3, CPU)
    assert set(batch) <= set(PRETRAINING_BATCH) | {"weight_B"}
    assert batch["clip_BTHWC"].dtype == torch.uint8 and batch["visible_BRV"].dtype == torch.int32
    assert batch["visible_BRV"].shape == (3, 1, num_visible(config.model.geometry.grid, config.mask))
    assert build(config.model)(batch)["loss"].isfinite()


def test_the_fastest_call_counts_and_those_that_warm_up_do_not():
    durations = iter([0.0, 0.0, 0.3, 0.1, 0.3])
    seconds, cpu_seconds = fastest(lambda: time.sleep(next(durations)), steps=3, device=CPU)
    assert 0.1 <= seconds < 0.3
    assert cpu_seconds < 0.1, "sleeping costs no CPU"


@pytest.mark.parametrize(
    ("arguments", "named"), [(("--recipe", "nanno"), "nanno"), (("--batch", "0"), "batch"), (("--threads", "0"), "thr")]
)
def test_options_that_cannot_work_are_refused_by_name(arguments, named):
    finished = run(*arguments)
    assert finished.returncode != 0 and named in finished.stderr
