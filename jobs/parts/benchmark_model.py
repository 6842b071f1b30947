"""How fast a recipe's model trains: forward and backward pass of a pre-training step, no optimizer, no input pipeline.

Beside it stands what the reference implementation of MAE-DFER reached once, on two cores of an AMD EPYC (Zen 5), eight
clips a step. Its figures are not scaled to this machine; the rate of one large matrix product, measured here, says how
the two may be related: absolute rates travel badly, shares of that rate travel well.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jobs.parts.pretrain_config import PretrainConfig
from jobs.recipes.voxceleb import RECIPES
from models.flops import count_multiply_adds, count_parameters
from models.masked_autoencoder import MaskedAutoencoder, build
from pipelines.sample import draw_masks

REFERENCE_CLIPS_PER_SECOND = {"fp32": 1.78, "bf16": 6.04}
REFERENCE_MULTIPLY_ADDS = 14.02e9  # forward, one clip; ours saves 4 % by not embedding masked cubes
_PASSES = 3  # a backward pass computes about twice what a forward pass does
_WARM_UP = 2
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def measure(recipe: str, *, batch: int, steps: int, threads: int | None) -> dict[str, Any]:
    """Times the model of a recipe on the GPU, or without one on the CPU, with random pixels and one mask for each
    clip; prints a table to stderr and returns the figures.

    Args:
        threads: of the CPU; None: as many as torch takes by itself.

    Raises:
        ValueError: there is no such recipe.
    """
    if recipe not in RECIPES:
        raise ValueError(f"recipe={recipe!r} is not one of {', '.join(RECIPES)}")
    if threads is not None:
        torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = RECIPES[recipe]()
    torch.manual_seed(config.seed)
    model = build(config.model).to(device)
    data = random_batch(config, batch, device)
    multiply_adds = count_multiply_adds(model, random_batch(config, 1, device))
    result: dict[str, Any] = {
        "recipe": recipe,
        "parameters": count_parameters(model),
        "batch": batch,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "forward_gigaflop_per_clip": round(2 * multiply_adds / 1e9, 3),
    }
    for precision in _DTYPES:
        seconds, cpu_seconds = fastest(lambda p=precision: _step(model, data, p), steps=steps, device=device)
        product = product_rate(precision, device, steps=steps)
        result |= figures(precision, batch / seconds, batch / cpu_seconds, multiply_adds, product)
    _print_table(result)
    return result


def figures(
    precision: str, clips_per_second: float, clips_per_cpu_second: float, multiply_adds: float, product_rate: float
) -> dict[str, float]:
    """One precision's figures, beside those of the reference.

    Args:
        multiply_adds: of the forward pass of one clip.
        product_rate: GFLOP/s of a large matrix product on this device.
    """
    rate = clips_per_second * _PASSES * 2 * multiply_adds / 1e9
    reference = REFERENCE_CLIPS_PER_SECOND[precision]
    values = {
        "clips_per_second": clips_per_second,
        "clips_per_cpu_second": clips_per_cpu_second,
        "gigaflops": rate,
        "product_gigaflops": product_rate,
        "share_of_product": rate / product_rate,
        "reference_clips_per_second": reference,
        "reference_gigaflops": reference * _PASSES * 2 * REFERENCE_MULTIPLY_ADDS / 1e9,
    }
    return {f"{precision}_{name}": round(value, 3) for name, value in values.items()}


def random_batch(config: PretrainConfig, size: int, device: torch.device) -> dict[str, Tensor]:
    """Noise under masks of the recipe's policy, one for each clip, rows of equal weight."""
    rng = np.random.default_rng(config.seed)
    geometry = config.model.geometry
    shape = (size, geometry.frames, geometry.height, geometry.width, 3)
    sample = replace(config.sample(), clips_per_video=1)
    visible_BRV = np.empty((size, *sample.visible_shape), np.int32)
    for sample_id, visible_RV in enumerate(visible_BRV):
        draw_masks(sample_id, sample, epoch=0, out_RV=visible_RV)
    return {
        "clip_BTHWC": torch.from_numpy(rng.integers(0, 256, shape, dtype=np.uint8)).to(device),
        "visible_BRV": torch.from_numpy(visible_BRV).to(device),
        "weight_B": torch.full((size,), 1 / size, device=device),
    }


def product_rate(precision: str, device: torch.device, *, steps: int) -> float:
    """GFLOP/s of a product of two square matrices, large enough to keep the device busy."""
    width = 8192 if device.type == "cuda" else 2048
    a = torch.randn(width, width, device=device).to(_DTYPES[precision])
    seconds, _ = fastest(lambda: a @ a, steps=steps, device=device)
    return 2 * width**3 / seconds / 1e9


def fastest(work: Callable[[], Any], *, steps: int, device: torch.device) -> tuple[float, float]:
    """Seconds and CPU seconds (this process, all threads) of the fastest of `steps` calls after some to warm up: the
    one that other programs disturbed least."""
    best, best_cpu = float("inf"), float("inf")
    for number in range(_WARM_UP + steps):
        start, start_cpu = time.perf_counter(), time.process_time()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number >= _WARM_UP:
            best = min(best, time.perf_counter() - start)
            best_cpu = min(best_cpu, time.process_time() - start_cpu)
    return best, best_cpu


def _step(model: MaskedAutoencoder, data: dict[str, Tensor], precision: str) -> None:
    with torch.autocast(data["weight_B"].device.type, torch.bfloat16, enabled=precision == "bf16"):
        loss = model(data)["loss"]
    loss.backward()
    model.zero_grad()


def _print_table(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    where = f"{result['device']}, CPU threads: {result['threads']}"
    table = Table(
        title=f"Pre-training step of {result['recipe']}, batch {result['batch']}, {where}",
        caption="The reference was measured on two cores of another machine with mae_dfer_base; nothing is scaled.",
    )
    for heading in ("", "clips/s", "clips per CPU-second", "GFLOP/s"):
        table.add_column(heading, justify="left" if not heading else "right")
    for precision in _DTYPES:
        own = ("clips_per_second", "clips_per_cpu_second", "gigaflops")
        table.add_row(f"{precision} here", *(f"{result[f'{precision}_{name}']:,.2f}" for name in own))
        reference = f"{result[f'{precision}_reference_clips_per_second']:.2f}"
        table.add_row(f"{precision} reference", reference, "", f"{result[f'{precision}_reference_gigaflops']:,.2f}")
        product = f"{result[f'{precision}_product_gigaflops']:,.2f}"
        table.add_row(f"{precision} large matrix product here", "", "", product)
    Console(stderr=True).print(table)
