from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import timm
import torch

from models.config import MaskedAutoencoderConfig
from models.cubes import normalize_pixels
from models.masked_autoencoder import build
from models.multi_view import MultiViewAutoencoder
from models.weights import (
    WeightsError,
    build_model,
    export_weights,
    load_encoder,
    load_masked_autoencoder,
    read_config,
    read_foreign,
    read_weights,
)
from tests.models.samples import (
    GEOMETRY,
    REGION,
    SMALL_REGION,
    batch,
    clips,
    config,
    multi_view_batch,
    multi_view_config,
)

PROVENANCE = {"steps": 12, "data": "f00d"}
CASES = [("lgi_former_nano", {"region": SMALL_REGION, "lgi_variant": "intra_lgi"}), ("video_vit_nano", {})]


def exported(tmp_path: Path, encoder: str, *, contents: str = "encoder", **changes):
    torch.manual_seed(0)
    settings = config(encoder, **changes)
    model, path = build(settings), tmp_path / "weights.safetensors"
    export_weights(model.state_dict(), path, config=settings, contents=contents, provenance=PROVENANCE)
    return model, path


@pytest.mark.parametrize("contents", ["encoder", "masked_autoencoder"])
@pytest.mark.parametrize(("encoder", "changes"), CASES)
def test_an_exported_encoder_comes_back_with_its_metadata(tmp_path, encoder, changes, contents):
    model, path = exported(tmp_path, encoder, contents=contents, **changes)
    loaded, metadata = load_encoder(path)
    clip = normalize_pixels(clips(1))
    assert torch.equal(loaded(clip), model.encoder(clip))
    assert metadata["architecture"] == encoder
    assert metadata["provenance"] == PROVENANCE
    assert metadata["geometry"] == {"frames": 4, "height": 64, "width": 64, "tubelet": 2, "patch": 16}
    assert read_config(metadata) == model.config


def test_an_exported_autoencoder_comes_back_whole(tmp_path):
    model, path = exported(tmp_path, "lgi_former_nano", contents="masked_autoencoder")
    loaded, _ = load_masked_autoencoder(path)
    data = batch(2)
    assert loaded(data) == model(data)


@pytest.mark.parametrize("encoder", ["lgi_former_nano", "video_vit_nano"])
def test_a_multi_view_model_comes_back_with_its_positions_and_views(tmp_path, encoder):
    settings = multi_view_config(encoder, loss_tokens="all", target_view_embedding="learned")
    model, path = build_model(settings), tmp_path / "weights.safetensors"
    export_weights(model.state_dict(), path, config=settings, contents="masked_autoencoder", provenance=PROVENANCE)
    loaded, _ = load_masked_autoencoder(path)
    assert isinstance(loaded, MultiViewAutoencoder)
    assert loaded.config == settings
    assert loaded(multi_view_batch(2)) == model(multi_view_batch(2))
    classifier, _ = load_encoder(path, num_classes=7)
    assert torch.equal(classifier.pos_embed.weight, model.encoder.pos_embed.weight)


def test_a_file_that_does_not_name_the_class_of_its_config_is_of_the_single_view_task(tmp_path):
    model, path = exported(tmp_path, "video_vit_nano", contents="masked_autoencoder")
    description = path.with_suffix(".json")
    metadata = json.loads(description.read_text())
    del metadata["config_class"]
    description.write_text(json.dumps(metadata))
    loaded, _ = load_masked_autoencoder(path)
    assert type(loaded.config) is MaskedAutoencoderConfig
    assert loaded(batch(2)) == model(batch(2))


def test_timm_loads_an_encoder_with_learned_positions(tmp_path):
    settings = multi_view_config()
    model, path = build_model(settings), tmp_path / "weights.safetensors"
    export_weights(model.state_dict(), path, config=settings, provenance=PROVENANCE)
    arguments = {"geometry": GEOMETRY, "position_embedding": "learned", "checkpoint_path": str(path)}
    loaded = timm.create_model("video_vit_nano", **arguments)
    assert torch.equal(loaded.pos_embed.weight, model.encoder.pos_embed.weight)


def test_an_encoder_alone_is_not_a_masked_autoencoder(tmp_path):
    _, path = exported(tmp_path, "video_vit_nano")
    with pytest.raises(WeightsError, match="holds the encoder alone; export with contents='masked_autoencoder'"):
        load_masked_autoencoder(path)


@pytest.mark.parametrize("num_classes", [0, 7])
def test_timm_loads_an_exported_encoder_through_checkpoint_path(tmp_path, num_classes):
    model, path = exported(tmp_path, "lgi_former_nano")
    loaded = timm.create_model(
        "lgi_former_nano", geometry=GEOMETRY, region=REGION, num_classes=num_classes, checkpoint_path=str(path)
    )
    assert torch.equal(loaded.blocks[-1].mlp.fc2.weight, model.encoder.blocks[-1].mlp.fc2.weight)
    clip = normalize_pixels(clips(1))
    if num_classes:
        assert loaded(clip).shape == (1, 7)
    else:
        assert torch.equal(loaded(clip), model.encoder(clip))


def test_an_encoder_becomes_a_classifier_with_the_arguments_given(tmp_path):
    model, path = exported(tmp_path, "lgi_former_nano")
    classifier, _ = load_encoder(path, num_classes=7, drop_path_rate=0.3, global_pool="local")
    assert classifier.head.out_features == 7
    assert classifier.global_pool == "local"
    assert torch.equal(classifier.representative_tokens.weight, model.encoder.representative_tokens.weight)


def test_weights_of_another_config_are_not_exported(tmp_path):
    state = build(config("video_vit_nano")).state_dict()
    path = tmp_path / "weights.safetensors"
    for wrong in (config("lgi_former_nano"), config("video_vit_nano", target="motion")):
        with pytest.raises(WeightsError, match="the weights are not those of the config"):
            export_weights(state, path, config=wrong, provenance={})
    assert list(tmp_path.iterdir()) == []


def test_provenance_that_is_not_json_is_refused_before_anything_is_written(tmp_path):
    settings = config("video_vit_nano")
    with pytest.raises(TypeError, match="not JSON serializable"):
        export_weights(
            build(settings).state_dict(), tmp_path / "w.safetensors", config=settings, provenance={"x": object()}
        )
    assert list(tmp_path.iterdir()) == []


def test_only_a_safetensors_file_is_written(tmp_path):
    settings = config("video_vit_nano")
    with pytest.raises(WeightsError, match=r"must end in .safetensors"):
        export_weights(build(settings).state_dict(), tmp_path / "w.pth", config=settings, provenance={})


def test_a_pair_that_does_not_belong_together_is_refused(tmp_path):
    _, path = exported(tmp_path, "video_vit_nano")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="the hashes differ"):
        read_weights(path)


def test_missing_and_foreign_descriptions_are_refused(tmp_path):
    _, path = exported(tmp_path, "video_vit_nano")
    description = path.with_suffix(".json")
    description.write_text(json.dumps({"format": "other"}))
    with pytest.raises(WeightsError, match="has format 'other'"):
        read_weights(path)
    description.unlink()
    with pytest.raises(WeightsError, match=r"weights.json is missing"):
        load_encoder(path)


@pytest.mark.parametrize("key", ["model", "module", None])
def test_a_foreign_checkpoint_gives_its_tensors(tmp_path, key):
    tensors = {"encoder.norm.weight": torch.arange(3.0), "mask_token": torch.ones(1, 1, 2)}
    content = {key: tensors, "epoch": 49, "args": argparse.Namespace(lr=0.1)} if key else tensors
    torch.save(content, tmp_path / "checkpoint-49.pth")
    read = read_foreign(tmp_path / "checkpoint-49.pth")
    assert set(read) == set(tensors)
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)


class Trap:
    def __reduce__(self):
        return (Path("trapped").write_text, ("executed",))


def test_a_foreign_checkpoint_that_would_run_code_is_refused_and_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": {"w": torch.ones(1)}, "args": Trap()}, "bad.pth")
    with pytest.raises(WeightsError, match="not a checkpoint of plain tensors"):
        read_foreign(Path("bad.pth"))
    assert not Path("trapped").exists()


def test_a_file_without_tensors_is_refused(tmp_path):
    torch.save({"model": {"epoch": 3}}, tmp_path / "empty.pth")
    with pytest.raises(WeightsError, match="holds no tensors"):
        read_foreign(tmp_path / "empty.pth")
    (tmp_path / "text.pth").write_text("not a checkpoint")
    with pytest.raises(WeightsError, match="not a checkpoint of plain tensors"):
        read_foreign(tmp_path / "text.pth")
