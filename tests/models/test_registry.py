from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_models_room_loads_neither_ray_nor_deepspeed():
    names = [f"models.{path.stem}" for path in sorted((ROOT / "models").glob("[a-z]*.py"))]
    assert "models.masked_autoencoder" in names
    code = f"import {', '.join(names)}, sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in run.stdout.split()}
    assert {"torch", "timm"} <= loaded
    assert not loaded & {"ray", "deepspeed", "transformers", "pipelines", "cluster", "jobs"}


def test_configs_and_tokens_load_without_torch():
    code = "import models.config, models.tokens, sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "torch" not in run.stdout.split()
