"""An Aff-Wild2 of nine videos of a few frames, written by hand, with its catalog and features of its frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipelines.catalog import Catalog, save
from pipelines.corpora import aff_wild2
from pipelines.feature_store import FeatureStore, frame_times
from pipelines.storage import Storage
from tests.pipelines.affect_tree import AU, EXPR, LISTS, ROOT, VA
from tests.pipelines.frame_corpus import picture
from tests.pipelines.image_corpus import build_here, encoded
from tests.pipelines.labelled_tree import write

FRAMES = {
    **{"v1": 12, "v2_left": 10, "v2_right": 10, "v3": 9},
    **{"v4": 11, "v5": 8, "v6": 7},
    **{"t1": 9, "t2": 6},
}
"""Lines of annotations of each video, or rows of an example of a submission."""
LEARNED, TESTED = ("v1", "v2_left", "v2_right", "v3"), ("v4", "v5", "v6")
"""Under the protocol `all`."""
TRAIN = {"EXPR_Recognition": LEARNED, "AU_Detection": ("v1", "v2_left", "v3"), "VA_Estimation": ("v1", "v2_right")}
VALIDATION = {"EXPR_Recognition": ("v4", "v5"), "AU_Detection": ("v4", "v6"), "VA_Estimation": ("v4", "v5")}
SUBMITTED = {"expr": ("t1",), "au": ("t1", "v5"), "va": ("t2", "t1")}
"""Test sets. That of units has a video whose expressions are annotated."""
FACE, VOICE = 4, 3
"""Widths of the features."""

_HEADERS = {"EXPR_Recognition": EXPR, "AU_Detection": AU, "VA_Estimation": VA}
_CALLED = {"expr": "Expression_Recognition", "au": "Action_Unit_Detection", "va": "Valence_Arousal_Estimation"}


def has_image(frame: int) -> bool:
    """Whether the frame, counted from 0, has an image, and so features of its face. The first has none."""
    return frame % 4 != 0


def expression(frame: int) -> int:
    return -1 if frame % 7 == 6 else frame % 8


def units(frame: int) -> list[int]:
    return [-1] * 12 if frame % 6 == 5 else [int((frame + unit) % 3 == 0) for unit in range(12)]


def dimensions(frame: int) -> list[float]:
    return [-5.0, -5.0] if frame % 5 == 4 else [round(float(np.sin(frame)), 3), round(float(np.cos(frame)), 3)]


def write_corpus(root: Path, *, images: bool = True) -> Path:
    """Annotations, lists and examples below `root`, and images, which only a catalog needs."""
    lines = {
        "EXPR_Recognition": lambda frame: str(expression(frame)),
        "AU_Detection": lambda frame: ",".join(map(str, units(frame))),
        "VA_Estimation": lambda frame: ",".join(map(str, dimensions(frame))),
    }
    files = {}
    for official, videos in (("Train_Set", TRAIN), ("Validation_Set", VALIDATION)):
        for task, names in videos.items():
            for video in names:
                told = [_HEADERS[task], *map(lines[task], range(FRAMES[video]))]
                files[f"{ROOT}/{task}_Challenge/{official}/{video}.txt"] = "\n".join(told) + "\n"
    for task, names in SUBMITTED.items():
        files[f"{LISTS}/{_CALLED[task]}_Challenge_test_set_release.txt"] = "\n".join(names) + "\n"
        rows = [f"{video}/{frame + 1:05d}.jpg,0" for video in names for frame in range(FRAMES[video])]
        files[f"test_set_examples/{task}_test_set_example.txt"] = "\n".join(["image_location,...", *rows]) + "\n"
    write(root, files)
    for video, frames in FRAMES.items() if images else ():
        folder = root / "cropped_aligned" / video
        folder.mkdir(parents=True)
        for frame in filter(has_image, range(frames)):
            (folder / f"{frame + 1:05d}.jpg").write_bytes(encoded(picture(video, frame), ".jpg"))
    return root


def write_catalog(folder: Path) -> tuple[str, Catalog]:
    """Address and content of the catalog of the corpus below `folder`, which is written."""
    catalog = build_here(Storage(write_corpus(folder / "corpus")), rules=aff_wild2).catalog
    save(catalog, str(folder / "catalog.parquet"))
    return str(folder / "catalog.parquet"), catalog


def feature(video: str, frame: int, width: int) -> np.ndarray:
    """float32 [D], another for each frame."""
    return np.random.default_rng([*video.encode(), frame, width]).normal(size=width).astype(np.float32)


def write_stores(folder: Path) -> tuple[str, str]:
    """Addresses of the features of faces, of the frames with an image, and of voices, of all frames."""
    return (
        write_store(folder / "face", "face", FACE, {v: list(filter(has_image, range(n))) for v, n in FRAMES.items()}),
        write_store(folder / "voice", "voice", VOICE, {video: list(range(n)) for video, n in FRAMES.items()}),
    )


def write_store(
    place: Path, name: str, width: int, frames: dict[str, list[int]], *, checkpoint: str | None = None
) -> str:
    """The address of features of these frames of videos."""
    made_with = {"name": name, "checkpoint": checkpoint}
    store = FeatureStore.create(Storage(place), name=name, kind="vision", width=width, made_with=made_with)
    for video, frame_M in frames.items():
        rows = np.array([feature(video, frame, width) for frame in frame_M], np.float32).reshape(-1, width)
        store.write(video, np.array(frame_M, np.int64), frame_times(FRAMES[video], 25.0)[frame_M], rows)
    return store.place.uri
