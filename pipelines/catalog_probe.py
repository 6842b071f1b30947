"""What is in the videos of a catalog, found by decoding them on all CPUs, and whether its images are worth keeping."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.archives import read_file
from pipelines.catalog import IMAGE, OK, SCHEMA
from pipelines.frame_folder import NOMINAL_FPS, probe_folder
from pipelines.image_cleaning import CleaningConfig, ImageJudge
from pipelines.probe import Limits, probe
from pipelines.progress import progress
from pipelines.quarantine import Reason, SampleError, short_detail
from pipelines.still_image import MAX_BYTES, decode, pixel_digest
from pipelines.storage import (
    AccessDenied,
    ObjectMissing,
    Storage,
    StorageError,
    StorageUnavailable,
    content_digest,
)

PROBED = ("digest", "width", "height", "fps", "frames", "seconds", "status", "detail")
PENDING = ("uri", "kind", "size", "archive_offset", "archive_bytes")
"""Columns of what is to be probed."""
_LARGEST_BLOCK, _MOST_IMAGES = 256, 4096  # of one task: some ten seconds of decoding
_TASKS_PER_CPU = 4  # at least, while there are videos enough, so that no CPU waits for the last task
_FETCHED_AT_ONCE = 16  # images of a remote store
_UNREAD = {"digest": "", "width": 0, "height": 0, "fps": 0.0, "frames": 0, "seconds": 0.0, "status": OK, "detail": ""}


def probed_schema() -> pa.Schema:
    return pa.schema([SCHEMA.field(name) for name in PROBED] + [pa.field("position", pa.int64(), nullable=False)])


def probe_all(pending: pa.Table, storage: Storage, cleaning: CleaningConfig, *, cpus: float) -> list[pa.Table]:
    """Tables of probed_schema() for a table of PENDING and position, in any order. Ray must be up."""
    if not pending.num_rows:
        return []
    import ray.data

    # A table is one block and a block one task: uncut, one CPU would do it all.
    tasks = max(1, int(_TASKS_PER_CPU * ray.cluster_resources().get("CPU", 1) / cpus))
    only_images = pc.all(pc.equal(pending["kind"], IMAGE)).as_py()
    rows = max(1, min(_MOST_IMAGES if only_images else _LARGEST_BLOCK, pending.num_rows // tasks))
    blocks = [pending.slice(start, rows) for start in range(0, pending.num_rows, rows)]
    dataset = ray.data.from_arrow(blocks).map_batches(
        probe_block,
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=cpus,
        fn_kwargs={"storage": storage, "cleaning": cleaning},
    )
    dataset.context.enable_progress_bars = False  # ours counts videos instead of blocks
    found = []
    with progress("probing", pending.num_rows) as advance:
        for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
            _raise_failure(table)
            found.append(table.cast(probed_schema()))
            advance(table.num_rows)
    return found


def probe_block(block: pa.Table, storage: Storage, cleaning: CleaningConfig) -> pa.Table:
    """Runs in a worker: probed columns for a block with the columns PENDING and position.

    Where the store fails, the table ends with a row that has the name of the error as status. An exception would reach
    the driver as one of Ray's, without its type.
    """
    rows = []
    with ImageJudge(cleaning) as judge:
        for video, data in _read_ahead(block.to_pylist(), storage):
            try:
                rows.append(_probe_one(storage, video, data, judge))
            except StorageError as error:
                rows.append(_UNREAD | {"status": type(error).__name__, "detail": str(error)})
                break
    table = pa.Table.from_pylist(rows, schema=pa.schema([SCHEMA.field(name) for name in PROBED]))
    return table.append_column("position", block["position"].slice(0, len(rows)))


def _raise_failure(table: pa.Table) -> None:
    last = table.slice(table.num_rows - 1).to_pylist()[0]
    for error in (AccessDenied, StorageUnavailable, StorageError):
        if last["status"] == error.__name__:
            raise error(last["detail"])


def _read_ahead(videos: list[dict[str, Any]], storage: Storage) -> Iterator[tuple[dict[str, Any], bytes | Exception]]:
    """Videos with their bytes, or why there are none; remote images some at a time, for they are small."""
    if storage.is_local or any(video["kind"] != IMAGE for video in videos):
        yield from ((video, _read(storage, video)) for video in videos)
        return
    with ThreadPoolExecutor(_FETCHED_AT_ONCE, thread_name_prefix="images") as pool:
        for start in range(0, len(videos), _FETCHED_AT_ONCE):
            some = videos[start : start + _FETCHED_AT_ONCE]
            yield from zip(some, pool.map(lambda video: _read(storage, video), some), strict=True)


def _read(storage: Storage, video: dict[str, Any]) -> bytes | Exception:
    limit = MAX_BYTES if video["kind"] == IMAGE else Limits().bytes
    if video["size"] > limit:
        return SampleError(Reason.too_large, f"{video['size']} bytes, the limit is {limit}")
    if video["kind"] == "frames":  # its images are read one by one
        return b""
    try:
        place = {"offset": video["archive_offset"], "stored_bytes": video["archive_bytes"]}
        data = read_file(storage, video["uri"], size=video["size"], **place)
    except (SampleError, StorageError) as error:
        return error
    if len(data) != video["size"]:
        return SampleError(Reason.changed, f"{video['size']} bytes when listed, {len(data)} when read")
    return data


def _probe_one(storage: Storage, video: dict[str, Any], data: bytes | Exception, judge: ImageJudge) -> dict[str, Any]:
    row = dict(_UNREAD)
    try:
        if isinstance(data, Exception):
            raise data
        if video["kind"] == IMAGE:
            _probe_image(data, judge, row)
            return row
        if video["kind"] == "frames":
            info, row["digest"] = probe_folder(storage, video["uri"])
        else:
            row["digest"] = content_digest(data)
            info = probe(data)
        row |= {name: getattr(info, name) for name in ("width", "height", "fps", "frames", "seconds")}
    except ObjectMissing as error:
        row |= {"status": Reason.missing.value, "detail": short_detail(str(error))}
    except SampleError as error:
        row |= {"status": error.reason.value, "detail": short_detail(error.detail)}
    return row


def _probe_image(data: bytes, judge: ImageJudge, row: dict[str, Any]) -> None:
    """What is known of an image stays in its row when it is judged to be of no use."""
    image_HWC = decode(data)
    height, width, _ = image_HWC.shape
    row |= {"digest": pixel_digest(image_HWC), "width": width, "height": height, "fps": NOMINAL_FPS, "frames": 1}
    if (problem := judge.judge(image_HWC)) is not None:
        raise problem
