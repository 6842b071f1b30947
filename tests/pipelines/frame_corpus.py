"""A corpus that is kept frame by frame, in the layout of Aff-Wild2, without labels."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from pipelines.catalog import OK, SCHEMA, UNLABELLED, Catalog, make_catalog
from pipelines.frame_folder import NOMINAL_FPS
from pipelines.still_image import pixel_digest

SIZE = 64


def picture(video: str, frame: int) -> np.ndarray:
    """uint8 [H, W, 3], another for each frame."""
    rng = np.random.default_rng([*video.encode(), frame])
    return rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)


def png(image_HWC: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image_HWC).save(file, "PNG")
    return file.getvalue()


def write_frames(
    root: Path, videos: Mapping[str, Sequence[int]], *, unusable: Mapping[str, str] | None = None
) -> Catalog:
    """ROOT/cropped_aligned/<video>/NNNNN.png of these frames (counted from 0), and their catalog. `unusable` are uris
    with their status."""
    rows = []
    for video, frames in videos.items():
        for frame in frames:
            uri = f"cropped_aligned/{video}/{frame + 1:05d}.png"
            path, image_HWC = root / uri, picture(video, frame)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(image_HWC))
            rows.append(
                UNLABELLED
                | dict.fromkeys(("etag", "detail"), "")
                | {"uri": uri, "kind": "image", "size": path.stat().st_size, "digest": pixel_digest(image_HWC)}
                | {"split": "all", "subject": video, "video": video, "status": (unusable or {}).get(uri, OK)}
                | {"width": SIZE, "height": SIZE, "fps": NOMINAL_FPS, "frames": 1, "seconds": 0.0}
            )
    rows.sort(key=lambda row: row["uri"])
    table = pa.Table.from_pylist([row | {"sample_id": index} for index, row in enumerate(rows)], schema=SCHEMA)
    return make_catalog(table, corpus="aff_wild2", root=str(root))
