"""Speech models and VGGish: their own outputs, at the right times, from folders and files of tensors alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.audio_config import SpeechConfig, VggishConfig
from models.audio_encoders import (
    SpeechEncoder,
    TransformersUnavailable,
    Vggish,
    load_speech_encoder,
    load_vggish,
    speech_description,
)
from models.weights import WeightsError

ARCHITECTURES = ("hubert", "wav2vec2")
SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}


def tiny(architecture: str, **changes: object) -> torch.nn.Module:
    """A model of that architecture with random weights."""
    from transformers import HubertConfig, HubertModel, Wav2Vec2Config, Wav2Vec2Model

    torch.manual_seed(0)
    if architecture == "hubert":
        return HubertModel(HubertConfig(**SMALL | changes)).eval()
    return Wav2Vec2Model(Wav2Vec2Config(**SMALL | changes)).eval()


def noise(samples: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed)) * 0.1


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_states_are_those_of_the_model_as_transformers_saved_it(tmp_path: Path, architecture: str) -> None:
    model, samples_N = tiny(architecture), noise(16_000)
    model.save_pretrained(tmp_path)
    encoder = load_speech_encoder(tmp_path, architecture)
    middle_M, state_MD = encoder(samples_N)
    with torch.no_grad():
        normal_N = (samples_N - samples_N.mean()) / (samples_N.var(unbiased=False) + 1e-7).sqrt()
        expected_MD = model(normal_N[None]).last_hidden_state[0]
    assert encoder.width == 16 and state_MD.dtype == torch.float32
    assert torch.allclose(state_MD, expected_MD, atol=1e-5)
    assert middle_M[:2].tolist() == [200.0, 520.0] and len(middle_M) == len(state_MD) == 49


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_states_of_a_layer_are_those_before_the_next_one(tmp_path: Path, layer: int) -> None:
    model, samples_N = tiny("hubert"), noise(8000)
    with torch.no_grad():
        expected_MD = model(samples_N[None], output_hidden_states=True).hidden_states[layer][0]
    _, state_MD = SpeechEncoder(model, layer=layer, normalize=False)(samples_N)
    assert torch.allclose(state_MD, expected_MD, atol=1e-5)
    with pytest.raises(WeightsError, match="layer=3 is beyond the 2 layers"):
        SpeechEncoder(model, layer=3, normalize=False)


def test_the_models_own_preprocessing_says_whether_sound_is_normalised(tmp_path: Path) -> None:
    model, samples_N = tiny("wav2vec2"), noise(4000)
    model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False}))
    with torch.no_grad():
        expected_MD = model(samples_N[None]).last_hidden_state[0]
    assert torch.allclose(load_speech_encoder(tmp_path, "wav2vec2")(samples_N)[1], expected_MD, atol=1e-5)


def test_long_sound_in_pieces_has_the_states_of_the_whole_where_the_first_layer_does_not_look_at_all_of_it() -> None:
    model = tiny("hubert", feat_extract_norm="layer", num_hidden_layers=0, do_stable_layer_norm=True)
    samples_N = noise(16_000 * 45)
    _, state_MD = SpeechEncoder(model, layer=None, normalize=False)(samples_N)
    with torch.no_grad():
        expected_MD = model(samples_N[None]).last_hidden_state[0]
    assert state_MD.shape == expected_MD.shape == (2249, 16)
    assert torch.allclose(state_MD, expected_MD, atol=1e-4)


def test_a_piece_hears_what_lies_around_it() -> None:
    encoder = SpeechEncoder(tiny("hubert"), layer=None, normalize=False)
    samples_N = noise(16_000 * 45)
    _, whole_MD = encoder(samples_N)
    changed_N = samples_N.clone()
    changed_N[1050 * 320 : 1051 * 320] = 0.9  # a second after the first piece
    _, changed_MD = encoder(changed_N)
    assert not torch.allclose(whole_MD[990:1000], changed_MD[990:1000], atol=1e-4)


@pytest.mark.parametrize("samples", [0, 1, 399, 400, 401])
def test_short_sound_has_one_state(samples: int) -> None:
    middle_M, state_MD = SpeechEncoder(tiny("hubert"), layer=None, normalize=True)(noise(samples))
    assert state_MD.shape == (1, 16) and middle_M.tolist() == [200.0] and torch.isfinite(state_MD).all()


def test_old_checkpoints_are_read_as_tensors_alone(tmp_path: Path) -> None:
    model, samples_N = tiny("hubert"), noise(4000)
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    _, expected_MD = SpeechEncoder(model, layer=None, normalize=True)(samples_N)
    assert torch.allclose(load_speech_encoder(tmp_path, "hubert")(samples_N)[1], expected_MD, atol=1e-5)
    marker = tmp_path / "ran"
    torch.save({**model.state_dict(), "code": _Runs(str(marker))}, tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=f"{tmp_path} cannot be loaded as hubert"):
        load_speech_encoder(tmp_path, "hubert")
    assert not marker.exists()


class _Runs:
    """Writes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (Path(self.path),)


def test_what_is_no_such_model_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no folder of a model"):
        load_speech_encoder(tmp_path, "hubert")
    tiny("wav2vec2").save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match="type 'wav2vec2', not hubert"):
        load_speech_encoder(tmp_path, "hubert")
    assert speech_description(tmp_path, "wav2vec2")["hidden_size"] == 16


def test_weights_that_are_not_all_there_are_refused(tmp_path: Path) -> None:
    model = tiny("hubert")
    model.save_pretrained(tmp_path)
    state = {name: tensor for name, tensor in model.state_dict().items() if "layers.1.attention" not in name}
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="lacks weights"):
        load_speech_encoder(tmp_path, "hubert")


def test_without_transformers_the_command_that_installs_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny("hubert").save_pretrained(tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(TransformersUnavailable, match=r"pip install .transformers>=4.50"):
        load_speech_encoder(tmp_path, "hubert")


@pytest.fixture(scope="module")
def vggish() -> Vggish:
    torch.manual_seed(0)
    return Vggish().eval()


def test_vggish_has_the_names_and_sizes_of_torchvggish(vggish: Vggish) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in vggish.state_dict().items() if name.endswith("weight")}
    assert shapes == {
        "features.0.weight": (64, 1, 3, 3),
        "features.3.weight": (128, 64, 3, 3),
        "features.6.weight": (256, 128, 3, 3),
        "features.8.weight": (256, 256, 3, 3),
        "features.11.weight": (512, 256, 3, 3),
        "features.13.weight": (512, 512, 3, 3),
        "embeddings.0.weight": (4096, 512 * 6 * 4),
        "embeddings.2.weight": (4096, 4096),
        "embeddings.4.weight": (128, 4096),
    }


def test_vggish_reads_its_map_with_channels_last(vggish: Vggish) -> None:
    mel_BTK = torch.randn(2, 96, 64)
    with torch.no_grad():
        map_BCTK = vggish.features(mel_BTK[:, None])
        flat = map_BCTK.permute(0, 2, 3, 1).reshape(2, -1)
        for index in (0, 2, 4):
            flat = torch.relu(vggish.embeddings[index](flat))
        assert torch.allclose(vggish(mel_BTK), flat, atol=1e-6)
    assert flat.shape == (2, 128)


def test_examples_begin_at_every_hop_and_stand_in_their_middle(vggish: Vggish) -> None:
    mel_MK = torch.randn(200, 64)
    middle_E, feature_ED = vggish.embed(mel_MK, hop=48)
    assert middle_E.tolist() == [47.5, 95.5, 143.5]
    with torch.no_grad():
        expected = vggish(torch.stack([mel_MK[start : start + 96] for start in (0, 48, 96)]))
    assert torch.allclose(feature_ED, expected, atol=1e-6)
    middle_E, feature_ED = vggish.embed(mel_MK[:10], hop=24)
    assert middle_E.tolist() == [47.5] and feature_ED.shape == (1, 128)


def test_vggish_is_loaded_from_either_kind_of_file_and_its_whitening_left_out(vggish: Vggish, tmp_path: Path) -> None:
    state = {**vggish.state_dict(), "pproc.pca_means": torch.zeros(128, 1)}
    torch.save(state, tmp_path / "vggish.pth")
    save_file(state, tmp_path / "vggish.safetensors")
    mel_BTK = torch.randn(1, 96, 64)
    for name in ("vggish.pth", "vggish.safetensors"):
        with torch.no_grad():
            assert torch.equal(load_vggish(tmp_path / name)(mel_BTK), vggish(mel_BTK))


def test_files_without_vggish_in_them_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no file"):
        load_vggish(tmp_path / "vggish.pth")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="other weights"):
        load_vggish(tmp_path / "other.pth")
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="no safetensors"):
        load_vggish(tmp_path / "bad.safetensors")


def test_configs_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="layer=-1"):
        SpeechConfig(layer=-1)
    with pytest.raises(ValueError, match="hop_seconds=2.0"):
        VggishConfig(hop_seconds=2.0)
