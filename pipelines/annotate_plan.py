"""How the annotation of a catalog is cut into units of work: a pure function of the catalog, so that a job that was
interrupted finds its units again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.annotate_video import csv_name
from pipelines.batch_reader import VIDEO_COLUMNS
from pipelines.catalog import OK
from pipelines.storage import Storage

if TYPE_CHECKING:
    from pipelines.catalog import Catalog

_SHARD_VIDEOS, _SHARD_FRAMES = 256, 1 << 18  # some 170 MB of arrays
_PART_VIDEOS, _PART_FRAMES = 16, 1 << 13  # half a minute of work: what an interruption costs an actor
_BASELINE_FRAMES = 1 << 17  # of one subject and view: its median does not need more

PARTS = "parts"


def part_name(part: int) -> str:
    return f"{PARTS}/{part:05d}.parquet"


@dataclass(frozen=True)
class Plan:
    """The usable videos of a catalog and the units they form."""

    videos: pa.Table
    """VIDEO_COLUMNS, subject, view, has_csv; in the order of the catalog."""
    parts: np.ndarray
    """int64 [parts + 1]: part p holds the videos parts[p] to parts[p + 1]."""
    shards: np.ndarray
    """int64 [shards + 1]: shard s holds the parts shards[s] to shards[s + 1]."""
    group_N: np.ndarray
    """int64: which (subject, view) each video belongs to, counted in the order of their first videos."""

    def group_names(self) -> pa.Table:
        """Columns subject and view, one row per group."""
        _, first = np.unique(self.group_N, return_index=True)
        return self.videos.select(["subject", "view"]).take(pa.array(first))

    def part_units(self, written: set[str]) -> list[dict]:
        """The parts that are not among these names: each with its videos, the fields of a Video and has_csv."""
        rows = list(zip(*(self.videos[name].to_pylist() for name in [*VIDEO_COLUMNS, "has_csv"]), strict=True))
        edges = self.parts.tolist()
        return [
            {"part": part, "videos": rows[start:stop]}
            for part, (start, stop) in enumerate(zip(edges, edges[1:], strict=False))
            if part_name(part) not in written
        ]

    def baseline_units(self) -> list[list[dict]]:
        """Groups, some at a time: where the tracks of each are, and which of their frames are enough."""
        frames_N = self.videos["frames"].to_numpy()
        frames_G = np.bincount(self.group_N, weights=frames_N).astype(np.int64)
        groups = [
            {"group": group, "step": -(-int(frames_G[group]) // _BASELINE_FRAMES), "rows": self._locate(rows)}
            for group, rows in enumerate(_rows_by_group(self.group_N))
        ]
        edges = cut(frames_G, max_items=_SHARD_VIDEOS, max_frames=_SHARD_FRAMES)
        return [groups[start:stop] for start, stop in zip(edges, edges[1:], strict=False)]

    def _locate(self, rows: np.ndarray) -> list[tuple[int, list[int]]]:
        """Parts and the places of the rows in them."""
        part_of_row = np.searchsorted(self.parts, rows, side="right") - 1
        return [(int(part), (rows[part_of_row == part] - self.parts[part]).tolist()) for part in np.unique(part_of_row)]


def make_plan(catalog: Catalog, openface: Storage | None) -> Plan:
    """Raises ValueError where the catalog has no usable video, or `openface` no CSV."""
    table = catalog.table.filter(pc.equal(catalog.table["status"], OK)).combine_chunks()
    if not table.num_rows:
        raise ValueError(f"the catalog of {catalog.root} has no usable video")
    uris = table["uri"].to_pylist()
    videos = table.select([*VIDEO_COLUMNS, "subject"])
    videos = videos.append_column("view", pa.array(views(catalog.corpus, uris), pa.string()))
    videos = videos.append_column("has_csv", pa.array(_has_csv(uris, openface), pa.bool_()))
    frames_N = videos["frames"].to_numpy()
    shard_edges = cut(frames_N, max_items=_SHARD_VIDEOS, max_frames=_SHARD_FRAMES)
    parts, shards = [0], [0]
    for start, stop in zip(shard_edges, shard_edges[1:], strict=False):
        edges = cut(frames_N[start:stop], max_items=_PART_VIDEOS, max_frames=_PART_FRAMES)
        parts += [start + edge for edge in edges[1:]]
        shards.append(len(parts) - 1)
    names = pc.binary_join_element_wise(videos["subject"], videos["view"], "\0").combine_chunks()
    group_N = names.dictionary_encode().indices.to_numpy().astype(np.int64)
    return Plan(videos, np.array(parts), np.array(shards), group_N)


def cut(frames_N: np.ndarray, *, max_items: int, max_frames: int) -> list[int]:
    """Edges of consecutive groups of items, from 0 to N: none holds more than `max_items`, and more than `max_frames`
    only where a single item does."""
    edges, total = [0], 0
    for index, frames in enumerate(frames_N.tolist()):
        if index > edges[-1] and (index - edges[-1] == max_items or total + frames > max_frames):
            edges.append(index)
            total = 0
        total += frames
    return [*edges, len(frames_N)]


def views(corpus: str, uris: list[str]) -> list[str]:
    """The camera that each video was taken from; "" for a corpus that has one."""
    if corpus != "mead":
        return [""] * len(uris)
    from pipelines.corpora.mead import read_name

    return [read_name(uri).view for uri in uris]


def _has_csv(uris: list[str], openface: Storage | None) -> list[bool]:
    if openface is None:
        return [False] * len(uris)
    names = {item.name for item in openface.list() if item.name.endswith(".csv")}
    found = [csv_name(uri) in names for uri in uris]
    if not any(found):
        raise ValueError(f"{openface.uri} holds no CSV of any video; {csv_name(uris[0])!r} would be that of the first")
    return found


def _rows_by_group(group_N: np.ndarray) -> list[np.ndarray]:
    order = np.argsort(group_N, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(group_N[order])) + 1)
