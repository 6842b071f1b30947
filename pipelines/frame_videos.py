"""Videos that a catalog holds frame by frame: one image is one row, and its number is in its name.
Beside them lie the recordings that the images were cut from, with their sound."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from pipelines.catalog import IMAGE, OK
from pipelines.corpora.aff_wild2 import subject_of
from pipelines.storage import ObjectInfo, Storage

if TYPE_CHECKING:
    from pipelines.catalog import Catalog

T = TypeVar("T")
RECORDINGS = frozenset({".avi", ".m4a", ".mkv", ".mov", ".mp3", ".mp4", ".wav", ".webm"})
_NUMBERED = r"(?:^|/)(?P<number>[0-9]{1,9})\.[^./]+$"


class FrameVideo(NamedTuple):
    """The usable frames of one video, in order."""

    name: str
    """What the catalog says in its column video."""
    row_M: np.ndarray
    """int64: their rows in the catalog."""
    frame_M: np.ndarray
    """int64, counted from 0: files count from 1."""


def frame_videos(catalog: Catalog) -> list[FrameVideo]:
    """All videos of a catalog of images by name, also those without a usable frame.

    Raises ValueError for rows that are no images, names without a number and frames that there are two of.
    """
    import pyarrow.compute as pc

    table = catalog.table
    others = table.filter(pc.not_equal(table["kind"], IMAGE))
    if others.num_rows:
        raise ValueError(
            f"{others.num_rows} rows of the catalog of {catalog.root} are no images, such as {others['uri'][0]}; "
            "features of frames are taken of corpora that are kept frame by frame, such as aff_wild2"
        )
    number = pc.struct_field(pc.extract_regex(table["uri"], _NUMBERED), "number")
    if number.null_count:
        uri = table["uri"].filter(pc.is_null(number))[0]
        raise ValueError(f"{uri} has no number as its name; frames are called 00001.jpg, 00002.jpg, ...")
    frame_N = pc.cast(number, "int64").to_numpy() - 1
    if (frame_N < 0).any():
        raise ValueError(f"{table['uri'][int(frame_N.argmin())]} counts from 0; the first frame is 00001.jpg")
    names = pc.unique(table["video"]).sort()
    video_N = pc.index_in(table["video"], value_set=names).to_numpy()
    row_N = np.flatnonzero(pc.equal(table["status"], OK).to_numpy())
    row_N = row_N[np.lexsort((frame_N[row_N], video_N[row_N]))]
    again = np.flatnonzero((np.diff(frame_N[row_N]) == 0) & (np.diff(video_N[row_N]) == 0))
    if len(again):
        pair = [table["uri"][int(row)].as_py() for row in row_N[again[0] : again[0] + 2]]
        raise ValueError(f"{pair[0]} and {pair[1]} are the same frame of a video")
    edges = np.searchsorted(video_N[row_N], np.arange(len(names) + 1))
    parts = zip(names.to_pylist(), edges, edges[1:], strict=False)
    return [FrameVideo(name, row_N[start:stop], frame_N[row_N[start:stop]]) for name, start, stop in parts]


def recording_of(video: str, recordings: Mapping[str, T]) -> T | None:
    """What is of a video among recordings by name: its own, or that of the recording in which it is one of two people
    (Aff-Wild2's _left and _right). None where there is neither."""
    return recordings.get(video, recordings.get(subject_of(video)))


def list_recordings(folder: Storage) -> dict[str, ObjectInfo]:
    """Video and sound files below a folder, at any depth, by name without suffix. Raises ValueError for two of one
    name, such as a video and its sound, and where there is none."""
    found: dict[str, ObjectInfo] = {}
    for item in folder.list():
        path = PurePosixPath(item.name)
        if path.suffix.lower() not in RECORDINGS:
            continue
        if path.stem in found:
            raise ValueError(f"{folder.uri} has two files of {path.stem}: {found[path.stem].name} and {item.name}")
        found[path.stem] = item
    if not found:
        raise ValueError(f"{folder.uri} holds no video or sound file ({', '.join(sorted(RECORDINGS))})")
    return found
