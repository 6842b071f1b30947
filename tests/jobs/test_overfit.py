"""The model can learn: the nano recipe on eight clips, seen again and again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cluster.sinks import read_rows
from jobs.parts.command_line import Command
from jobs.parts.pretraining import pretrain
from jobs.parts.video_pretraining import prepare
from jobs.recipes.voxceleb import nano
from pipelines.storage import Storage

BOUND = 0.45
"""Three quarters of what predicting zeros loses, which no run that sees other clips comes near."""


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_eight_clips_are_learned_by_heart(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    config = replace(nano(), overfit=8, passes_per_epoch=250)
    pretrain(Command(config, name="overfit", home=str(tmp_path)), prepare)
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    rows = read_rows(Storage(result["run_directory"]), "metrics.jsonl", result["steps"])
    losses = [row["loss/total"] for row in rows if "loss/total" in row]
    assert result["steps"] == 1000
    assert np.mean(losses[-5:]) < BOUND < 0.8 * result["held_out_zero_loss"]
