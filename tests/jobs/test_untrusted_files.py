"""Files that someone else may have written run nothing: predictions, kept features, the config beside weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import save_file

from jobs.parts import probe_features
from jobs.parts.evaluation import METRICS, read_result
from jobs.parts.predictions import IDENTITY, PREDICTIONS, read_predictions_of
from jobs.parts.trained import load_trained
from models.weights import FORMAT
from pipelines.parquet import TableRefused
from pipelines.storage import Storage
from tests.pipelines import traps


@pytest.fixture
def sprung(tmp_path: Path) -> Path:
    return tmp_path / "sprung"


@pytest.fixture
def place(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "place")


def test_predictions_run_nothing(place: Storage, sprung: Path) -> None:
    table = pa.table({"video": ["a"], "score": [1.0]}).replace_schema_metadata({IDENTITY: "{}"})
    place.write(PREDICTIONS, traps.with_trap(table, "score", sprung))
    place.write(METRICS, b"{}")
    for read in (read_result, lambda place: read_predictions_of(place, {})):
        with pytest.raises(TableRefused, match=rf"column 'score' of .*/{PREDICTIONS}"):
            read(place)
    assert not sprung.exists()


def test_kept_features_run_nothing(place: Storage, sprung: Path) -> None:
    place.write("features.npz", traps.npz("pooled_ND", sprung, clips_N=np.ones(1)))
    with pytest.raises(ValueError, match=r"place/features.npz .*allow_pickle=False"):
        probe_features._read(place, "features.npz")
    assert not sprung.exists()


@pytest.mark.parametrize(
    "recorded",
    [
        {"job": "os:system", "recipe": "x"},
        {"recipe": "x", "py/object": "os.system"},
        {"recipe": {"__reduce__": ["os.system", "touch sprung"]}},
        {"recipe": "x", "corpus": {"name": "x", "target": "os:system"}},
    ],
)
def test_a_config_beside_weights_is_data_and_what_it_should_not_say_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: dict[str, Any]
) -> None:
    called: list[str] = []
    monkeypatch.setattr("os.system", called.append)
    save_file({"x": torch.ones(1)}, tmp_path / "w.safetensors")
    description = {
        "format": FORMAT,
        "contents": "masked_autoencoder",
        "sha256": hashlib.sha256((tmp_path / "w.safetensors").read_bytes()).hexdigest(),
        "provenance": {"metadata": {"config": recorded}},
    }
    (tmp_path / "w.json").write_text(json.dumps(description))
    with pytest.raises(ValueError, match=r"w\.safetensors: "):
        load_trained(str(tmp_path / "w.safetensors"))
    assert called == []
