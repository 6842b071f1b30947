"""Weight files: safetensors beside a JSON file of the same name that says what they are. Nothing is unpickled.

NAME.safetensors holds float tensors by parameter name; timm.create_model(checkpoint_path=...) reads an encoder's as it
is. NAME.json holds the format version, what is inside, the config to build it from, the caller's provenance and the
hash of the other file, so that a mismatched pair is refused. Foreign .pth files are read with weights_only=True.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models import masked_autoencoder, multi_view
from models.config import MaskedAutoencoderConfig, MultiViewConfig
from models.encoder import VideoEncoder
from models.masked_autoencoder import MaskedAutoencoder, encoder_arguments
from models.registry import create_encoder
from models.tokens import ClipGeometry

FORMAT = "semblance-weights-1"
ENCODER_PREFIX = "encoder."
Contents = Literal["encoder", "masked_autoencoder"]
BUILDERS: dict[type[MaskedAutoencoderConfig], Callable[..., MaskedAutoencoder]] = {
    MaskedAutoencoderConfig: masked_autoencoder.build,
    MultiViewConfig: multi_view.build,
}
CONFIGS = {config.__name__: config for config in BUILDERS}


class WeightsError(ValueError):
    """A weight file cannot be used, and why."""


def export_weights(
    state: Mapping[str, Tensor],
    path: Path,
    *,
    config: MaskedAutoencoderConfig,
    contents: Contents = "encoder",
    provenance: Mapping[str, Any],
) -> None:
    """Write a pre-trained model as `path` (NAME.safetensors) and NAME.json.

    Args:
        state: the weights of the whole masked autoencoder, by parameter name.
        contents: the encoder alone, under its own names, or all.
        provenance: where the weights come from (steps, data, versions), as JSON values.

    Raises:
        WeightsError: `path` does not end in .safetensors, or `state` is not the state of the config's model.
    """
    if path.suffix != ".safetensors":
        raise WeightsError(f"{path} must end in .safetensors")
    with torch.device("meta"):
        expected = build_model(config).state_dict()
    _check_state(state, expected, path)
    prefix = ENCODER_PREFIX if contents == "encoder" else ""
    tensors = {k.removeprefix(prefix): v.detach().cpu().contiguous() for k, v in state.items() if k.startswith(prefix)}
    metadata = {
        "format": FORMAT,
        "contents": contents,
        "architecture": config.encoder,
        "geometry": asdict(config.geometry),
        "config_class": type(config).__name__,
        "config": asdict(config),
        "parameters": sum(tensor.numel() for tensor in tensors.values()),
        "provenance": dict(provenance),
    }
    # JSON first in memory: provenance that cannot be written must fail before a file exists.
    json.dumps(metadata)
    save_file(tensors, path, metadata={"format": "pt"})
    metadata["sha256"] = _sha256(path)
    path.with_suffix(".json").write_text(json.dumps(metadata, indent=2) + "\n")


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of an exported pair. Raises WeightsError unless both files are there and belong together."""
    description = path.with_suffix(".json")
    for part in (path, description):
        if not part.is_file():
            raise WeightsError(f"{part} is missing; weights are a .safetensors file with its .json beside it")
    metadata = json.loads(description.read_text())
    if metadata.get("format") != FORMAT:
        raise WeightsError(f"{description} has format {metadata.get('format')!r}, this version reads {FORMAT!r}")
    if metadata["sha256"] != _sha256(path):
        raise WeightsError(f"{path} is not the file that {description.name} describes: the hashes differ")
    return load_file(path), metadata


def load_encoder(path: Path, **arguments: Any) -> tuple[VideoEncoder, dict[str, Any]]:
    """The encoder of an exported file, of either contents, and the file's metadata.

    Args:
        arguments: to the constructor beside those of the file: num_classes, drop_path_rate, global_pool. With
            num_classes the classifier's norm and head are new.
    """
    tensors, metadata = read_weights(path)
    config = read_config(metadata)
    if metadata["contents"] == "masked_autoencoder":
        tensors = {k.removeprefix(ENCODER_PREFIX): v for k, v in tensors.items() if k.startswith(ENCODER_PREFIX)}
    encoder = create_encoder(config.encoder, **encoder_arguments(config), **arguments)
    encoder.load_state_dict(tensors)
    return encoder, metadata


def load_masked_autoencoder(path: Path) -> tuple[MaskedAutoencoder, dict[str, Any]]:
    """The whole model of an exported file and the file's metadata. WeightsError if only the encoder is inside."""
    tensors, metadata = read_weights(path)
    if metadata["contents"] != "masked_autoencoder":
        raise WeightsError(f"{path} holds the {metadata['contents']} alone; export with contents='masked_autoencoder'")
    model = build_model(read_config(metadata))
    model.load_state_dict(tensors)
    return model, metadata


def read_config(metadata: Mapping[str, Any]) -> MaskedAutoencoderConfig:
    """The config that an exported model is built from. The first files did not name its class."""
    values = dict(metadata["config"])
    values["geometry"] = ClipGeometry(**values["geometry"])
    values["region"] = tuple(values["region"])
    return CONFIGS[metadata.get("config_class", MaskedAutoencoderConfig.__name__)](**values)


def build_model(config: MaskedAutoencoderConfig) -> MaskedAutoencoder:
    """The model that a config of any class describes, with weights drawn from torch's global generator."""
    return BUILDERS[type(config)](config)


def read_foreign(path: Path) -> dict[str, Tensor]:
    """Tensors by name of a .pth checkpoint of another code base, untouched.

    Looks under "model", "module" or "state_dict", else takes the file as a flat dictionary. Only tensors and plain
    containers are unpickled; argparse.Namespace, in which the originals keep their flags, is allowed and thrown away.

    Raises:
        WeightsError: the file holds other objects, or no tensors.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise WeightsError(f"{path} is not a checkpoint of plain tensors: {error}") from error
    for key in ("model", "module", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}
    if not tensors:
        raise WeightsError(f"{path} holds no tensors under model, module, state_dict or at its top")
    return tensors


def _check_state(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> None:
    missing, unknown = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    wrong = [name for name in expected.keys() & state.keys() if expected[name].shape != state[name].shape]
    if missing or unknown or wrong:
        raise WeightsError(
            f"cannot export {path.name}: the weights are not those of the config "
            f"(missing {missing[:3]}, unknown {unknown[:3]}, other shape {sorted(wrong)[:3]})"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
