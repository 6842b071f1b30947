"""Videos for benchmarks, in the shape of VoxCeleb2: 224x224, 25 fps, about 7.5 s, one key frame per 250 frames."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines.catalog import OK, SCHEMA, UNLABELLED, Catalog, make_catalog
from pipelines.storage import content_digest
from pipelines.video import encode_h264

FRAMES, SIZE, FPS = 188, 224, 25.0


def cut_clips(videos: tuple[Path, ...], folder: Path, *, most: int = 8) -> list[Path]:
    """Up to `most` files cut one after the other from the videos (largest centred square, resized), or, without
    videos, from a moving texture.

    Raises ValueError when the videos are shorter than one file.
    """
    sources = [_squares(path) for path in videos] or [_moving_texture(seed) for seed in range(4)]
    paths: list[Path] = []
    for frames in sources:
        while len(paths) < most and len(clip := list(islice(frames, FRAMES))) == FRAMES:
            paths.append(folder / f"cut-{len(paths)}.mp4")
            encode_h264(clip, paths[-1], fps=FPS, gop=250, b_frames=3)
    if not paths:
        raise ValueError(f"the videos hold fewer than {FRAMES} frames; give a longer one")
    return paths


def repeated_catalog(clips: list[Path], folder: Path, rows: int) -> Catalog:
    """A catalog of `rows` videos in `folder`, hard links to the clips in turn."""
    folder.mkdir()
    names = [f"{row:06d}.mp4" for row in range(rows)]
    for row, name in enumerate(names):
        os.link(clips[row % len(clips)], folder / name)
    contents = [clip.read_bytes() for clip in clips]
    facts = [(len(content), content_digest(content)) for content in contents]
    each = [facts[row % len(clips)] for row in range(rows)]
    columns = {
        "sample_id": range(rows),
        "uri": names,
        "size": [size for size, _ in each],
        "etag": [""] * rows,
        "digest": [digest for _, digest in each],
        "split": ["train"] * rows,
        "subject": [""] * rows,
        "video": [""] * rows,
        "width": [SIZE] * rows,
        "height": [SIZE] * rows,
        "fps": [FPS] * rows,
        "frames": [FRAMES] * rows,
        "seconds": [FRAMES / FPS] * rows,
        "status": [OK] * rows,
        "detail": [""] * rows,
        **{name: [value] * rows for name, value in UNLABELLED.items()},
    }
    return make_catalog(pa.table(columns, schema=SCHEMA), corpus="benchmark", root=str(folder))


def _squares(path: Path) -> Iterator[np.ndarray]:
    import av
    import cv2

    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            frame_HWC = frame.to_ndarray(format="rgb24")
            height, width, _ = frame_HWC.shape
            side = min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            square_HWC = frame_HWC[top : top + side, left : left + side]
            yield cv2.resize(square_HWC, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def _moving_texture(seed: int) -> Iterator[np.ndarray]:
    """Two files' worth of a smooth random picture that drifts and flickers, about as hard to code as a talking face."""
    import cv2

    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, (2 * SIZE, 2 * SIZE), interpolation=cv2.INTER_CUBIC)
    place = np.array([SIZE / 2, SIZE / 2])
    for _ in range(2 * FRAMES):
        place = np.clip(place + rng.normal(0, 1.5, 2), 0, SIZE - 1)
        top, left = place.astype(int)
        noise = rng.normal(0, 3, (SIZE // 4, SIZE // 4, 1)).repeat(4, 0).repeat(4, 1)
        yield np.clip(picture[top : top + SIZE, left : left + SIZE] + noise, 0, 255).astype(np.uint8)
