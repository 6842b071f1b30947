"""What the processes of `tests.cluster.workers` need, imported once for all of them."""

import importlib
import os

os.environ["DS_ACCELERATOR"] = "cpu"  # read when DeepSpeed is imported

for room, files in {
    "cluster": ("checkpoint", "loop", "optimizer_state"),
    "models": ("fine_tuning", "masked_autoencoder"),
}.items():
    for file in files:
        importlib.import_module(f"{room}.{file}")
