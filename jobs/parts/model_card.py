"""The model card of exported weights: what they are, how they were made, how they are loaded."""

from __future__ import annotations

from jobs.parts.face_config import FacePretrainConfig
from jobs.parts.mead_config import MeadPretrainConfig
from jobs.parts.pretrain_config import PretrainConfig
from jobs.parts.trained import Trained
from models.masked_autoencoder import encoder_arguments
from models.weights import Contents
from pipelines.alignment import AlignConfig
from pipelines.masks import MaskConfig
from pipelines.resized_crop import ResizedCropConfig

AnyConfig = PretrainConfig | MeadPretrainConfig | FacePretrainConfig
TARGETS = {
    "joint": "both frames of a cube as appearance and motion (MAE-DFER Eq. 2)",
    "appearance": "the first frame of a cube",
    "motion": "the difference of a cube's two frames",
    "video_mae": "the pixels, normalised within each token by each colour",
    "image_mae": "the pixels, normalised within each token over all colours",
    "pixels": "the pixels as they are",
}
LOSS_TOKENS = {"masked": "of the masked tokens", "all": "of all tokens"}


def model_card(trained: Trained, *, contents: Contents) -> str:
    """Markdown."""
    config, provenance = trained.config, trained.provenance
    rows = {
        "Architecture": f"`{config.model.encoder}`",
        "Contents": "encoder" if contents == "encoder" else "encoder and decoder of the masked autoencoder",
        "Input": _input(config),
        "Crop": _crop(config),
        "Recipe": f"`{config.recipe}`",
        "Corpus": f"{config.corpus.title}, fingerprint `{provenance['metadata']['stream']}`",
        "Target": f"{config.model.target}: {TARGETS[config.model.target]}; {LOSS_TOKENS[config.model.loss_tokens]}",
        "Masking": _masking(config),
        "Trained": f"{provenance['step']} steps, {provenance['epoch']} epochs completed, batch "
        f"{config.optimizer.global_batch}, seed {config.seed}",
        "Started from": f"`{config.init_from}`" if config.init_from else "random weights",
        "Run": f"`{provenance['metadata']['run']}`",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    what, drawn = ("images", "patches") if config.model.reads_images else ("videos", "cubes")
    return f"""# {config.model.encoder}, pre-trained on face {what}

A masked autoencoder learned to draw the hidden {drawn} of face {what}; no labels were used.

| | |
|---|---|
{table}

The resolved config of the run is in `model.json` under `provenance`.

## Loading

```python
{_loading(config, contents)}
```

## Before use

- The encoder has no classifier: fine-tune it, or train a probe on its features.
- It learned from the corpus above alone. Faces, ages, light and cameras that are rare there are served worse; measure
  on your own people before you rely on it.
- The corpus has terms of its own, which may bind what you do with weights learned from it.
- Expressions do not tell what a person feels. Do not decide about people by them.
"""


def _crop(config: AnyConfig) -> str:
    crop = config.align if isinstance(config, MeadPretrainConfig) else config.crop
    size = config.model.geometry.width
    if isinstance(crop, ResizedCropConfig):
        shares = " to ".join(f"{share:.0%}" for share in crop.area)
        flipped = ", half of them mirrored" if crop.flip else ""
        return (
            f"the largest centred square, resized to {size}x{size}; trained on random parts of {shares} "
            f"of the picture{flipped}"
        )
    if isinstance(crop, AlignConfig):
        eyes = ", eyes at the same place in all frames" if crop.mode == "similarity" else ""
        return (
            f"the middle {size}x{size} pixels of the {crop.size}x{crop.size} square around the face, whose side is "
            f"{crop.margin:g} times that of the box of its landmarks{eyes}"
        )
    if crop.window is None:
        return f"the largest centred square, resized to {size}x{size}"
    top, left, height, width = crop.window
    return (
        f"rows {top} to {top + height - 1} and columns {left} to {left + width - 1} of frames of "
        f"{crop.frame_size[0]}x{crop.frame_size[1]}, resized to {size}x{size}"
    )


def _masking(config: AnyConfig) -> str:
    mask = config.mask
    if isinstance(mask, MaskConfig):
        return f"{mask.policy}, ratio {mask.ratio:g}"
    kept = "patches of an active action unit kept, " if mask.keep == "unit" else ""
    views = f"; target views: {config.target_views}" if isinstance(config, MeadPretrainConfig) else ""
    return f"{kept}the rest {mask.rest}, ratio {mask.ratio:g}{views}"


def _input(config: AnyConfig) -> str:
    geometry, clip = config.model.geometry, config.clip
    if config.model.reads_images:
        return f"images of {geometry.height}x{geometry.width}, RGB; patches of {geometry.patch}x{geometry.patch}"
    unit = f"at {clip.nominal_fps:g} frames per second" if clip.sampling == "seconds" else "of the video"
    return (
        f"{geometry.frames} frames of {geometry.height}x{geometry.width}, RGB, every {clip.stride} frames {unit}; "
        f"cubes of {geometry.tubelet}x{geometry.patch}x{geometry.patch}"
    )


def _loading(config: AnyConfig, contents: Contents) -> str:
    if contents == "masked_autoencoder":
        return (
            "from pathlib import Path\n\nfrom models.weights import load_masked_autoencoder\n\n"
            'model, description = load_masked_autoencoder(Path("model.safetensors"))'
        )
    arguments = "".join(f"    {name}={value!r},\n" for name, value in encoder_arguments(config.model).items())
    clips = "images [B, 1, H, W, 3]" if config.model.reads_images else "clips"
    return (
        "import timm\n\nimport models.registry  # registers the encoders with timm\n"
        "from models.cubes import normalize_pixels\nfrom models.tokens import ClipGeometry\n\n"
        f'encoder = timm.create_model(\n    "{config.model.encoder}",\n    checkpoint_path="model.safetensors",\n'
        f"{arguments})\nfeatures = encoder(normalize_pixels(clip_BTHWC))  # uint8 {clips} -> [B, encoder.embed_dim]"
    )
