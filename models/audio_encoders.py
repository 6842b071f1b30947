"""Pre-trained encoders of sound with the user's weights: HuBERT and wav2vec 2.0 by transformers, VGGish.

Sources: HuBERT (Hsu et al., arXiv 2106.07447), wav2vec 2.0 (Baevski et al., arXiv 2006.11477), VGGish (Hershey et al.,
arXiv 1609.09430; layers and names as in torchvggish).
Deliberate differences:
- long sound passes through a speech model in pieces of 20 s with 2 s around them: attention over minutes would not fit.
  Base models normalise their first layer over the sound they are given, which is then the piece;
- VGGish's embeddings are its own, not whitened and quantised as in AudioSet's release.

Weights are tensors alone: safetensors, or read with weights_only. No code comes with a model.
"""

from __future__ import annotations

import json
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from models.audio_config import Architecture
from models.weights import WeightsError, read_foreign

if TYPE_CHECKING:
    from transformers import HubertModel, Wav2Vec2Model

VGGISH_WIDTH = 128
VGGISH_WINDOWS, VGGISH_BANDS = 96, 64
"""Log-mel windows and bands of an example."""

_PIECE_STATES, _CONTEXT_STATES = 1000, 100  # of 20 ms
_EXAMPLES_AT_ONCE = 32
_VGGISH_CHANNELS = (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool")


class TransformersUnavailable(RuntimeError):
    """transformers is not installed."""


class SpeechEncoder:
    """A frozen speech model for sound of 16 kHz."""

    def __init__(self, model: HubertModel | Wav2Vec2Model, *, layer: int | None, normalize: bool) -> None:
        """`normalize`: sound is brought to zero mean and unit variance, as the model's own preprocessing says. Raises
        WeightsError for a layer that it does not have."""
        layers = model.config.num_hidden_layers
        if layer is not None and layer > layers:
            raise WeightsError(f"layer={layer} is beyond the {layers} layers of the model")
        self._model, self._layer, self._normalize = model.eval(), layer, normalize
        self._kernels, self._strides = model.config.conv_kernel, model.config.conv_stride

    @property
    def width(self) -> int:
        return self._model.config.hidden_size

    def to(self, device: str) -> SpeechEncoder:
        """Itself, with its model moved there."""
        self._model.to(device)
        return self

    @torch.inference_mode()
    def __call__(self, samples_N: Tensor) -> tuple[Tensor, Tensor]:
        """States of the sound (float32): the sample in the middle of what the convolutions hear for each, float64 [M],
        and the states, float32 [M, D]. Sound that is too short for one is filled up with silence."""
        stride, field = self._grid()
        samples_N = nn.functional.pad(samples_N, (0, max(0, field - len(samples_N))))
        if self._normalize:
            samples_N = (samples_N - samples_N.mean()) / (samples_N.var(unbiased=False) + 1e-7).sqrt()
        count, found = (len(samples_N) - field) // stride + 1, []
        for start in range(0, count, _PIECE_STATES):
            stop = min(start + _PIECE_STATES, count)
            first, last = max(0, start - _CONTEXT_STATES), min(count, stop + _CONTEXT_STATES)
            end = len(samples_N) if last == count else (last - 1) * stride + field
            found.append(self._states(samples_N[first * stride : end])[start - first : stop - first])
        middle_M = torch.arange(count, dtype=torch.float64) * stride + field / 2
        return middle_M, torch.cat(found).float()

    def _states(self, samples_N: Tensor) -> Tensor:
        device = next(self._model.parameters()).device
        out = self._model(samples_N[None].to(device), output_hidden_states=self._layer is not None)
        states_1MD = out.last_hidden_state if self._layer is None else out.hidden_states[self._layer]
        return states_1MD[0].cpu()

    def _grid(self) -> tuple[int, int]:
        """Samples from one state to the next, and samples that one hears."""
        stride, field = 1, 1
        for kernel, step in zip(self._kernels, self._strides, strict=True):
            field += (kernel - 1) * stride
            stride *= step
        return stride, field


class Vggish(nn.Module):
    """VGG of four stages on a log-mel example, then three linear layers, each with a ReLU."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for width in _VGGISH_CHANNELS:
            if width == "pool":
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
        self.features = nn.Sequential(*layers)
        inside = channels * (VGGISH_WINDOWS // 16) * (VGGISH_BANDS // 16)
        linear = (nn.Linear(inside, 4096), nn.Linear(4096, 4096), nn.Linear(4096, VGGISH_WIDTH))
        self.embeddings = nn.Sequential(*(layer for one in linear for layer in (one, nn.ReLU())))

    def forward(self, mel_BTK: Tensor) -> Tensor:
        """Embeddings, float32 [B, 128], of log-mel examples [B, 96, 64]."""
        map_BCTK = self.features(mel_BTK[:, None])
        return self.embeddings(rearrange(map_BCTK, "b c t k -> b (t k c)"))

    @torch.inference_mode()
    def embed(self, mel_MK: Tensor, hop: int) -> tuple[Tensor, Tensor]:
        """Of a log-mel spectrogram [M, 64]: the middle of each example, in windows (float64 [E]), and its embedding,
        float32 [E, 128]. An example begins every `hop` windows; a spectrogram that is too short for one is repeated
        at its end."""
        missing = max(0, VGGISH_WINDOWS - len(mel_MK))
        mel_MK = torch.cat([mel_MK, mel_MK[-1:].expand(missing, -1)])
        examples_EKT = mel_MK.unfold(0, VGGISH_WINDOWS, hop)
        device = self.embeddings[0].weight.device
        parts = [self(part.mT.to(device)).cpu() for part in examples_EKT.split(_EXAMPLES_AT_ONCE)]
        return torch.arange(len(examples_EKT), dtype=torch.float64) * hop + (VGGISH_WINDOWS - 1) / 2, torch.cat(parts)


def require_transformers() -> None:
    """Says at once whether speech models can be read here. Raises TransformersUnavailable with what to do."""
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        raise TransformersUnavailable(
            f'HuBERT and wav2vec 2.0 are read by transformers, which does not load ({error}); run `pip install "'
            'transformers>=4.50"`'
        ) from None


def load_speech_encoder(folder: Path, architecture: Architecture, layer: int | None = None) -> SpeechEncoder:
    """The model in a local folder, on the CPU.

    Raises:
        TransformersUnavailable: with the command that installs it.
        WeightsError: no model in the folder, another architecture, or weights that are not all of its own.
    """
    values = speech_description(folder, architecture)
    require_transformers()
    from transformers import HubertModel, Wav2Vec2Model

    is_safe = (folder / "model.safetensors").is_file() or (folder / "model.safetensors.index.json").is_file()
    try:
        model, loading = {"hubert": HubertModel, "wav2vec2": Wav2Vec2Model}[architecture].from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=is_safe,
            weights_only=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, RuntimeError, ValueError, SafetensorError, UnpicklingError) as error:
        raise WeightsError(f"{folder} cannot be loaded as {architecture}: {error}") from error
    # Only training needs the vector that stands for masked time steps.
    missing = sorted(set(loading["missing_keys"]) - {"masked_spec_embed"})
    if missing or loading["mismatched_keys"]:
        raise WeightsError(f"{folder} lacks weights of {values['model_type']}: {(missing or ['other shapes'])[:3]}")
    return SpeechEncoder(model, layer=layer, normalize=_normalizes(folder))


def speech_description(folder: Path, architecture: Architecture) -> dict[str, Any]:
    """config.json of a speech model, read without loading it. Raises WeightsError where there is none, and for a model
    of another architecture."""
    try:
        values = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise WeightsError(f"{folder} is no folder of a model as transformers saves it: {error}") from None
    if values.get("model_type") != architecture:
        raise WeightsError(f"{folder} holds a model of type {values.get('model_type')!r}, not {architecture}")
    return values


def load_vggish(path: Path) -> Vggish:
    """VGGish with weights under the names of torchvggish, on the CPU. Raises WeightsError for a file that is missing,
    is not of plain tensors or holds other weights."""
    if not path.is_file():
        raise WeightsError(f"there is no file {path}; give VGGish's weights as .pth or .safetensors")
    try:
        tensors = load_file(path) if path.suffix == ".safetensors" else read_foreign(path)
    except SafetensorError as error:
        raise WeightsError(f"{path} is no safetensors file: {error}") from None
    model = Vggish()
    own = {name: tensor for name, tensor in tensors.items() if not name.startswith("pproc.")}  # whitening of AudioSet
    try:
        model.load_state_dict(own)
    except RuntimeError as error:
        raise WeightsError(f"{path} holds other weights than VGGish's: {error}") from None
    return model.eval()


def _normalizes(folder: Path) -> bool:
    """What the model's own preprocessing says; without it, as most of these models do."""
    file = folder / "preprocessor_config.json"
    return bool(json.loads(file.read_text()).get("do_normalize", True)) if file.is_file() else True
