"""A run directory with a tiny, untrained model, and a video to show it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import safetensors.torch
import torch

from cluster.commit import COMMIT, DIRECTORY, Commit, FileEntry, Progress
from jobs.config import to_json
from jobs.parts.face_config import FaceCorporaConfig, FacePretrainConfig
from jobs.parts.pretrain_config import CorpusConfig, PretrainConfig
from jobs.parts.run_config import PretrainRunConfig
from models.config import MaskedAutoencoderConfig, Target
from models.masked_autoencoder import MaskedAutoencoder, build
from models.tokens import ClipGeometry
from pipelines.catalog import SCHEMA, UNLABELLED, Catalog, make_catalog, save
from pipelines.clips import ClipConfig
from pipelines.masks import MaskConfig
from pipelines.resized_crop import ResizedCropConfig
from pipelines.storage import Storage
from pipelines.transforms import CropConfig
from pipelines.video import encode_h264

RUN = "tiny"
STEP = 12


FINGERPRINT = "0" * 64


def tiny_config(encoder: str = "lgi_former_nano", *, root: str | None = None) -> PretrainConfig:
    """4 frames of 64x64 pixels, 2 x 4 x 4 tokens; videos from the folder `root`, or the synthetic corpus."""
    region = (2, 2, 4)
    is_lgi = encoder.startswith("lgi_former")
    return PretrainConfig(
        recipe="tiny",
        corpus=CorpusConfig(name="folder", root=root) if root else CorpusConfig(),
        clip=ClipConfig(frames=4, stride=2),
        crop=CropConfig(size=64),
        mask=MaskConfig(policy="region_tube", ratio=0.75, region=region) if is_lgi else MaskConfig("tube", 0.75),
        model=MaskedAutoencoderConfig(
            encoder=encoder,
            geometry=ClipGeometry(frames=4, height=64, width=64),
            region=region,
            decoder_width=32,
            decoder_depth=1,
            decoder_heads=2,
        ),
    )


def tiny_faces(*, target: Target = "image_mae", corpus: FaceCorporaConfig | None = None) -> FacePretrainConfig:
    """Images of 64x64 pixels, 4 x 4 tokens."""
    return FacePretrainConfig(
        recipe="tiny",
        corpus=corpus or FaceCorporaConfig(),
        crop=ResizedCropConfig(size=64),
        model=MaskedAutoencoderConfig(
            encoder="face_vit_nano",
            geometry=ClipGeometry(frames=1, height=64, width=64, tubelet=1),
            decoder_width=32,
            decoder_depth=1,
            decoder_heads=2,
            target=target,
        ),
    )


def tiny_model(config: PretrainRunConfig, seed: int = 0) -> MaskedAutoencoder:
    torch.manual_seed(seed)
    return build(config.model)


def write_run(
    folder: Path,
    config: PretrainRunConfig,
    *,
    step: int = STEP,
    catalog: str = FINGERPRINT,
    data: dict[str, Any] | None = None,
) -> str:
    """A checkpoint as training writes it, on the catalog of that fingerprint; returns its name. `data` is what it says
    of whom it has seen, None: nothing, as checkpoints once did."""
    name = f"step-{step:08d}-0a"
    storage = Storage(folder / DIRECTORY)
    state = {key: tensor.contiguous() for key, tensor in tiny_model(config).state_dict().items()}
    content = safetensors.torch.save(state)
    storage.write(f"{name}/weights-00000-000.safetensors", content)
    commit = Commit(
        name=name,
        step=step,
        epoch=3,
        world_size=1,
        created="2030-01-01T00:00:00+00:00",
        progress=Progress.start(10).counts(),
        engine={"updates": step},
        metadata={"run": RUN, "seed": 0, "stream": f"{catalog}:dev", "config": {"job": config.JOB, **to_json(config)}}
        | ({} if data is None else {"data": data}),
        files={"weights-00000-000.safetensors": FileEntry.of(content)},
    )
    storage.write(f"{name}/{COMMIT}", commit.to_json())
    return name


def moving_frames(count: int = 12, height: int = 224, width: int = 224) -> np.ndarray:
    """A soft bright disc that moves over a gradient, uint8 [T, H, W, 3]."""
    y, x = np.mgrid[:height, :width]
    shade = np.stack([120 * x / width, 120 * y / height, np.full((height, width), 60)], axis=-1)
    frames = []
    for i in range(count):
        distance = np.hypot(y - height / 2, x - width * (0.35 + 0.02 * i)) / (height / 4)
        frames.append(shade + 120 * np.exp(-(distance**2))[..., None])
    return np.stack(frames).astype(np.uint8)


def write_video(path: Path, *, frames: int = 12, height: int = 224, width: int = 224) -> Path:
    encode_h264(moving_frames(frames, height, width), path, fps=25)
    return path


def write_corpus(home: Path, *, videos: int = 3) -> Catalog:
    """HOME/videos/test/N.mp4, and their catalog where runs keep theirs."""
    rows = []
    for index in range(videos):
        (home / "videos" / "test").mkdir(parents=True, exist_ok=True)
        path = write_video(home / "videos" / "test" / f"{index}.mp4", frames=12 + index)
        geometry = {"width": 224, "height": 224, "fps": 25.0, "frames": 12 + index, "seconds": (12 + index) / 25}
        text = dict.fromkeys(("etag", "digest", "detail"), "")
        names = {"uri": f"test/{index}.mp4", "split": "test", "subject": "test", "video": str(index), "status": "ok"}
        rows.append({"sample_id": index, "size": path.stat().st_size} | names | geometry | text | UNLABELLED)
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    catalog = make_catalog(table, corpus="folder", root=str(home / "videos"))
    save(catalog, str(home / "catalogs" / "folder-0123456789ab.parquet"))
    return catalog
