"""Features of frames from their config: the corpus found or rendered, what is missing computed, and all of it counted.

store.json, videos/       the features (pipelines.feature_store)
rejected/<video>.json     what of a video has no features, and why; written before its features
quarantine.jsonl          all of that, one line each
result.json               what the job prints
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from cluster.runtime import print_result, ray_session, record_result
from jobs.parts.command_line import Command
from jobs.parts.feature_config import AudioConfig, FeatureConfig, ForeignConfig, VisionConfig
from jobs.parts.feature_rejections import QUARANTINE, read_rejections
from jobs.parts.labelled_corpus import prepare_labelled
from pipelines.catalog import OK
from pipelines.feature_store import FeatureStore, Kind, store_key
from pipelines.frame_videos import FrameVideo, frame_videos
from pipelines.storage import Storage
from pipelines.storage import home as default_home

if TYPE_CHECKING:
    from pipelines.catalog import Catalog

logger = logging.getLogger(__name__)


class Extraction(Protocol):
    """One kind of feature of the videos of a catalog."""

    kind: Kind
    width: int
    made_with: Mapping[str, Any]

    def extract(self, videos: Sequence[FrameVideo], store: FeatureStore) -> dict[str, int]:
        """Writes the features of these videos and what has none. Returns how many frames of each have some. Ray must be
        up."""
        ...


def extract_features(command: Command[FeatureConfig]) -> None:
    """`run_extraction` in a session of its own; prints the result as the last line."""
    command.config.check_given()
    home = Storage(command.home) if command.home else default_home()
    with ray_session():
        result = run_extraction(command, home)
    print_result(result)


def run_extraction(command: Command[FeatureConfig], home: Storage) -> dict[str, Any]:
    """Computes what is missing, records and returns the result. Called again it goes on where it was stopped; a video
    that is there is left as it is. Ray must be up.

    Raises:
        ValueError: a config that does not fit the corpus, weights or a folder that cannot be used.
        CheckpointError: weights that are not there.
        TransformersUnavailable: it is needed and not installed.
        StorageError: the store fails.
    """
    _, catalog = prepare_labelled(command.config.corpus, home)
    extraction = prepare(command.config, catalog)
    key = store_key(extraction.kind, extraction.width, extraction.made_with)
    place = home.child("features", command.name or f"{command.config.recipe}-{key[:10]}")
    store = FeatureStore.create(
        place,
        name=command.name or command.config.recipe,
        kind=extraction.kind,
        width=extraction.width,
        made_with=extraction.made_with,
    )
    videos = frame_videos(catalog)
    frames = fill(store, extraction, videos)
    result = summary(store, catalog, command.config, frames)
    record_result(result, place)
    return result


def prepare(config: FeatureConfig, catalog: Catalog) -> Extraction:
    """What the config asks for, of this catalog. Raises as `run_extraction`."""
    config.check_given()
    if isinstance(config, VisionConfig):
        from jobs.parts.feature_vision import prepare_vision

        return prepare_vision(config, catalog)
    if isinstance(config, AudioConfig):
        from jobs.parts.feature_audio import prepare_audio

        return prepare_audio(config, catalog)
    assert isinstance(config, ForeignConfig)
    from jobs.parts.feature_foreign import prepare_foreign

    return prepare_foreign(config, catalog)


def fill(store: FeatureStore, extraction: Extraction, videos: Sequence[FrameVideo]) -> dict[str, int]:
    """Computes the videos that are not in the store. Returns how many frames of each video have features."""
    done = set(store.videos())
    left = [video for video in videos if video.name not in done]
    if done and left:
        logger.info("going on: %d of %d videos are done", len(videos) - len(left), len(videos))
    found = extraction.extract(left, store) if left else {}
    return {video.name: found[video.name] if video.name in found else store.num_frames(video.name) for video in videos}


def summary(store: FeatureStore, catalog: Catalog, config: FeatureConfig, frames: Mapping[str, int]) -> dict[str, Any]:
    """The result line; writes quarantine.jsonl."""
    rejections = read_rejections(store.place)
    store.place.write(QUARANTINE, "".join(json.dumps(one) + "\n" for one in rejections).encode())
    missing = Counter(one["reason"] for one in rejections)
    if isinstance(config, VisionConfig):
        missing.update({status: count for status, count in catalog.counts().items() if status != OK})
    if missing:
        logger.warning("without features, by reason: %s; %s lists them", dict(missing), store.place.full(QUARANTINE))
    return {
        "store": store.place.uri,
        "corpus": config.corpus.title,
        "kind": store.kind,
        "key": store.key,
        "width": store.width,
        "videos": len(frames),
        "frames": sum(frames.values()),
        "empty": sum(not count for count in frames.values()),
        "missing": dict(missing),
        "quarantine": store.place.full(QUARANTINE),
    }
