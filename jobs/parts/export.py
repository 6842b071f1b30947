"""Exporting a trained model: weights, description and model card in one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from jobs.parts.model_card import model_card
from jobs.parts.trained import load_trained
from models.weights import export_weights

Part = Literal["encoder", "all"]

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
CARD = "README.md"


def export_trained(checkpoint: str, *, part: Part, output: Path | None) -> dict[str, Any]:
    """Writes model.safetensors, model.json and README.md; returns their paths and what is in them.

    Raises:
        CheckpointError: no such checkpoint, or a damaged one.
        ValueError: an exported file that cannot be used, or an output folder that holds other weights.
        OSError: the folder cannot be written.
    """
    trained = load_trained(checkpoint)
    run, step = trained.provenance["metadata"]["run"], trained.step
    folder = (output or Path("exported", f"{run}-step-{step}-{part}")).expanduser()
    if (folder / WEIGHTS).exists():
        raise ValueError(f"{folder} holds exported weights already; remove them or name another --output")
    folder.mkdir(parents=True, exist_ok=True)
    contents = "encoder" if part == "encoder" else "masked_autoencoder"
    export_weights(
        trained.weights,
        folder / WEIGHTS,
        config=trained.config.model,
        contents=contents,
        provenance=trained.provenance,
    )
    (folder / CARD).write_text(model_card(trained, contents=contents))
    return {
        "weights": str(folder / WEIGHTS),
        "description": str(folder / DESCRIPTION),
        "card": str(folder / CARD),
        "architecture": trained.config.model.encoder,
        "contents": contents,
        "run": run,
        "step": step,
    }
