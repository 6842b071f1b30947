"""The resumable annotation of a catalog with faces, landmarks and action units.

First the faces of every video are found, on all CPUs, and written part by part: the expensive half. An interruption
costs the parts that were being worked on; a part that was written is never worked on again. Then the neutral face of
every subject in every view is taken over all of its videos, every face is scored against it, and parts become shards.

Source: the per-person median of OpenFace (Baltrusaitis, Mahmoud, Robinson: Cross-dataset learning and person-specific
normalisation for automatic Action Unit detection, FERA 2015).
Deliberate difference: the median is over all videos of a subject and a view, not over a video: in a short acted clip
the median of the clip is the expression itself.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.action_units import ESTIMATOR_VERSION
from pipelines.annotate_plan import PARTS, Plan, make_plan
from pipelines.annotate_video import AnnotateConfig
from pipelines.annotate_work import PartWorker, score_shard, take_baselines
from pipelines.annotations import MANIFEST_FILE, Annotations, open_annotations, publish
from pipelines.face_mesh import MESH_VERSION, require_mediapipe
from pipelines.face_search import SEARCH_VERSION
from pipelines.progress import progress
from pipelines.storage import ObjectMissing, Storage
from pipelines.unit_map import WorkerPool, map_units

if TYPE_CHECKING:
    from pipelines.catalog import Catalog

logger = logging.getLogger(__name__)

CLAIM_FILE, BASELINES_FILE = "claim.json", "baselines.parquet"
_VERSIONS = {"units": 1, "mesh": MESH_VERSION, "estimator": ESTIMATOR_VERSION}
"""With others the parts of an earlier attempt do not fit; `units` is raised when the same catalog is cut otherwise."""
_PACKAGES = ("av", "mediapipe", "numpy", "pyarrow")


@dataclass(frozen=True)
class Annotated:
    """Finished annotations and what this call did for them."""

    annotations: Annotations
    videos: int
    """Whose faces were found in this call; the others had been before."""
    frames: int
    seconds: float
    """From the first to the last of these videos."""
    cpu_seconds: float
    """What the processors worked on them, over all actors; waiting for the store does not count."""


def annotate(
    catalog: Catalog, uri: str, config: AnnotateConfig | None = None, *, pool: WorkerPool | None = None
) -> Annotated:
    """Annotates every usable video of a catalog at `uri`, a local folder or s3://bucket/prefix. Ray must be up.

    The same call again goes on where it stopped; when all is done it opens what is there. A video that cannot be read
    keeps its row in the index, with the reason.

    Raises:
        ValueError: `uri` holds annotations of another catalog or config; no usable video; no CSV of any video.
        FaceMeshUnavailable: MediaPipe is needed and not installed; before any work.
        StorageError: the store fails.
    """
    config, pool, place = config or AnnotateConfig(), pool or WorkerPool(), Storage(uri)
    openface = None if config.openface is None else Storage(config.openface)
    settings = asdict(config) | {"openface": None if openface is None else openface.uri, **_VERSIONS}
    if config.small_faces:
        settings["search"] = SEARCH_VERSION
    _claim(place, {"catalog": catalog.fingerprint, **settings})
    if place.exists(MANIFEST_FILE):
        place.remove_tree(PARTS)
        return Annotated(open_annotations(uri), 0, 0, 0.0, 0.0)
    plan = make_plan(catalog, openface)
    done = _find_faces(plan, catalog.storage, place, config, pool)
    baselines = _baselines(plan, place, pool)
    annotations = publish(
        place,
        _score(plan, place, baselines, pool),
        plan.videos,
        catalog_fingerprint=catalog.fingerprint,
        settings={**settings, "packages": _packages()},
    )
    place.remove_tree(PARTS)
    return Annotated(annotations, **done)


def _claim(place: Storage, claim: dict[str, Any]) -> None:
    try:
        found = json.loads(place.read(CLAIM_FILE))
    except ObjectMissing:
        place.write(CLAIM_FILE, json.dumps(claim, indent=1).encode())
        return
    other = [f"{name}={found.get(name)}, not {claim[name]}" for name in claim if found.get(name) != claim[name]]
    if other:
        raise ValueError(f"{place.uri} holds annotations with {'; '.join(other)}; give another place for these")


def _find_faces(
    plan: Plan, storage: Storage, place: Storage, config: AnnotateConfig, pool: WorkerPool
) -> dict[str, Any]:
    """Writes the parts that are not there yet."""
    units = plan.part_units({item.name for item in place.list(PARTS)})
    has_csv = [has_csv for unit in units for *_, has_csv in unit["videos"]]
    if config.detector == AnnotateConfig.detector and not all(has_csv):
        require_mediapipe()
    if len(has_csv) < plan.videos.num_rows:
        logger.info("going on: %d of %d videos are done", plan.videos.num_rows - len(has_csv), plan.videos.num_rows)
    done = {"videos": len(has_csv), "frames": 0, "cpu_seconds": 0.0}
    arguments = {"storage": storage, "place": place, "config": config}
    begun = time.perf_counter()
    with progress("finding faces", len(has_csv)) as advance:
        for unit, answer in map_units(units, PartWorker, arguments, pool):
            advance(len(unit["videos"]))
            done["frames"] += answer["frames"]
            done["cpu_seconds"] += answer["cpu_seconds"]
    return done | {"seconds": time.perf_counter() - begun}


def _baselines(plan: Plan, place: Storage, pool: WorkerPool) -> dict[int, list[float]]:
    """The neutral face of every group that has one, by group; written beside the shards."""
    found: dict[int, tuple[list[float], int]] = {}
    with progress("baselines", len(plan.group_names())) as advance:
        for unit, answers in map_units(plan.baseline_units(), take_baselines, {"place": place}, pool):
            found |= {group: (values, frames) for group, values, frames in answers}
            advance(len(unit))
    groups = sorted(found)
    table = plan.group_names().take(pa.array(groups, pa.int64()))
    table = table.append_column("frames", pa.array([found[group][1] for group in groups], pa.int64()))
    table = table.append_column("values", pa.array([found[group][0] for group in groups], pa.list_(pa.float32())))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    place.write(BASELINES_FILE, sink.getvalue().to_pybytes())
    return {group: values for group, (values, _) in found.items()}


def _score(plan: Plan, place: Storage, baselines: dict[int, list[float]], pool: WorkerPool) -> list[dict[str, Any]]:
    """Writes all shards; what is left of an earlier attempt is written again."""
    units = []
    for shard, (first, last) in enumerate(zip(plan.shards[:-1].tolist(), plan.shards[1:].tolist(), strict=True)):
        groups = [plan.group_N[plan.parts[part] : plan.parts[part + 1]].tolist() for part in range(first, last)]
        used = {group: baselines[group] for group in sorted(set().union(*groups)) if group in baselines}
        units.append({"shard": shard, "parts": list(zip(range(first, last), groups, strict=True)), "baselines": used})
    shards = []
    with progress("scoring", plan.videos.num_rows) as advance:
        for _, shard in map_units(units, score_shard, {"place": place}, pool):
            shards.append(shard)
            advance(len(shard["rows"]))
    return shards


def _packages() -> dict[str, str]:
    """Versions of the libraries that pixels and numbers come from."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "none"
    return found
