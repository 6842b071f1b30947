"""Configs as JSON and back."""

from __future__ import annotations

import json

import pytest

from jobs.config import from_json, to_json
from models.config import MaskedAutoencoderConfig
from models.tokens import ClipGeometry

CONFIG = MaskedAutoencoderConfig(
    encoder="video_vit_small", geometry=ClipGeometry(frames=8, height=32, width=64), target="video_mae"
)


def test_a_config_survives_the_way_through_a_json_file() -> None:
    assert from_json(MaskedAutoencoderConfig, json.loads(json.dumps(to_json(CONFIG)))) == CONFIG


def test_tuples_come_back_as_tuples() -> None:
    data = to_json(CONFIG)
    assert data["region"] == [2, 5, 10]
    assert from_json(MaskedAutoencoderConfig, data).region == (2, 5, 10)


def test_unknown_keys_are_refused_by_name_at_any_depth() -> None:
    data = to_json(CONFIG)
    data["geometry"]["depth"] = 3
    with pytest.raises(ValueError, match="geometry.depth"):
        from_json(MaskedAutoencoderConfig, data)


def test_values_the_class_refuses_are_refused_with_its_message() -> None:
    with pytest.raises(ValueError, match="give a multiple of"):
        from_json(MaskedAutoencoderConfig, {**to_json(CONFIG), "geometry": {"frames": 7}})
    with pytest.raises(ValueError, match="target"):
        from_json(MaskedAutoencoderConfig, {**to_json(CONFIG), "target": "sound"})
