"""Features of what is heard at every frame: the recordings are shared out over the cluster, each heard once however
many videos were cut from it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cluster.preflight import cluster_capacity
from jobs.config import to_json
from jobs.parts.feature_config import AudioConfig, AudioEncoder, RecordedConfig
from jobs.parts.feature_rejections import rejected, write_rejections
from models.audio_config import SpeechConfig, VggishConfig
from pipelines.audio import (
    HOP,
    NO_SOUND,
    SAMPLE_RATE,
    LogMelConfig,
    at_frames,
    centre_of_window,
    frame_edges,
    log_mel,
    log_mel_at_frames,
    read_frame_times,
    read_sound,
)
from pipelines.catalog import Catalog
from pipelines.decoders import Source
from pipelines.feature_store import FeatureStore, FrameFeatures, Kind, frame_times
from pipelines.frame_videos import FrameVideo, list_recordings, recording_of
from pipelines.probe import Limits
from pipelines.progress import progress
from pipelines.quarantine import Reason, SampleError
from pipelines.storage import ObjectMissing, Storage
from pipelines.unit_map import WorkerPool, map_units

RECORDINGS = "videos"  # below the root of a corpus
_MODEL_FILES = (".json", ".safetensors", ".bin")
_MODEL_MB = 4096  # of an hour of sound and a large model

Hear = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From samples and the times of frames to the frames that have features, and these."""


@dataclass(frozen=True)
class AudioExtraction:
    """Features of the sound of all videos of a catalog."""

    config: AudioConfig
    recordings: Storage
    files: Mapping[str, str]
    """By name without suffix."""
    width: int
    made_with: Mapping[str, Any]
    kind: Kind = "audio"

    def extract(self, videos: Sequence[FrameVideo], store: FeatureStore) -> dict[str, int]:
        """Raises StorageError, ValueError for weights that cannot be used and for a recording without pictures where
        nothing tells its frames."""
        units = units_of(videos, self.files)
        frames: dict[str, int] = {}
        is_model = not isinstance(self.config.encoder, LogMelConfig)
        pool = WorkerPool(
            memory_per_worker_mb=_MODEL_MB if is_model else WorkerPool.memory_per_worker_mb,
            gpus_per_worker=1.0 if is_model and cluster_capacity().gpus else 0.0,
        )
        arguments = {"recordings": self.recordings, "store": store, "config": self.config}
        with progress("recordings", len(units)) as advance:
            for unit, count in map_units(units, AudioWorker, arguments, pool):
                frames |= dict.fromkeys(unit["videos"], count)
                advance(1)
        return frames


def prepare_audio(config: AudioConfig, catalog: Catalog) -> AudioExtraction:
    """For a config that says which weights. Raises ValueError for some that cannot be used and for a folder without
    recordings, and TransformersUnavailable."""
    place, files, listing = find_recordings(config, catalog)
    return AudioExtraction(
        config=config,
        recordings=place,
        files=files,
        width=_width(config.encoder),
        made_with={
            "encoder": {"kind": type(config.encoder).__name__, **_identity(config.encoder)},
            "recordings": listing,
            "fps": config.fps,
            "catalog": catalog.fingerprint,
        },
    )


def find_recordings(config: RecordedConfig, catalog: Catalog) -> tuple[Storage, dict[str, str], str]:
    """Where they are, the files by name, and a hash of names and sizes. Raises ValueError where none is of a video."""
    if config.recordings is None and not catalog.root:
        raise ValueError(f"the catalog of {catalog.corpus} is a union of corpora; give --recordings")
    place = Storage(config.recordings) if config.recordings else Storage(catalog.root).child(RECORDINGS)
    found = list_recordings(place)
    videos = catalog.table["video"].unique().to_pylist()
    if all(recording_of(video, found) is None for video in videos):
        raise ValueError(f"{place.uri} holds no recording of any video, such as {videos[0]}; give --recordings")
    sizes = [[item.name, item.size] for item in found.values()]
    listing = hashlib.sha256(repr(sizes).encode()).hexdigest()[:32]
    return place, {name: item.name for name, item in found.items()}, listing


def units_of(videos: Sequence[FrameVideo], files: Mapping[str, str]) -> list[dict[str, Any]]:
    """The files with the videos that they are of; videos without one are a unit with "" as its file."""
    units: dict[str, list[str]] = {}
    for video in videos:
        units.setdefault(recording_of(video.name, files) or "", []).append(video.name)
    return [{"file": file, "videos": names} for file, names in units.items()]


class AudioWorker:
    """Hears one recording after the other, and writes what it hears for the videos it is of."""

    def __init__(self, recordings: Storage, store: FeatureStore, config: AudioConfig) -> None:
        self._recordings, self._store, self._config = recordings, store, config
        self._hear = _ear(config.encoder)

    def __call__(self, unit: dict[str, Any]) -> int:
        """Answers with how many frames have features."""
        features, problem = self._features(unit["file"])
        for video in unit["videos"]:
            if problem is not None:
                write_rejections(self._store.place, video, [rejected(video, unit["file"], *problem)])
            self._store.write(video, *features)
        return len(features.frame_M)

    def _features(self, file: str) -> tuple[FrameFeatures, tuple[str, str] | None]:
        nothing = FrameFeatures(np.zeros(0, np.int32), np.zeros(0), np.zeros((0, self._store.width), np.float32))
        try:
            source = open_recording(self._recordings, file)
            samples_N = read_sound(source)
            if samples_N is None:
                return nothing, (NO_SOUND, "the recording has no sound")
            time_N = times_of_frames(source, file, self._config.fps, seconds=len(samples_N) / SAMPLE_RATE)
        except SampleError as error:
            return nothing, (error.reason, error.detail)
        frame_L, feature_LD = self._hear(samples_N, time_N)
        return FrameFeatures(frame_L.astype(np.int32), time_N[frame_L], feature_LD), None


def open_recording(recordings: Storage, file: str) -> Source:
    """The path of a local file, the bytes of a remote one. Raises SampleError: missing, too_large."""
    if not file:
        raise SampleError(Reason.missing, f"no file in {recordings.uri} is named as the video")
    try:
        if (size := recordings.size(file)) > Limits.bytes:
            raise SampleError(Reason.too_large, f"{size} bytes, the limit is {Limits.bytes}")
        return recordings.full(file) if recordings.is_local else recordings.read(file)
    except ObjectMissing as error:
        raise SampleError(Reason.missing, str(error)) from None


def times_of_frames(source: Source, file: str, fps: float | None, *, seconds: float) -> np.ndarray:
    """When the frames of a recording are shown, float64 [N]; without pictures at a steady rate. Raises SampleError, and
    ValueError where there are no pictures and no rate."""
    time_N = read_frame_times(source)
    if time_N is not None:
        return time_N
    if fps is None:
        raise ValueError(f"the recording {file} has no pictures: give --fps, the frames a second of its video")
    return frame_times(int(seconds * fps), fps)


def _width(encoder: AudioEncoder) -> int:
    if isinstance(encoder, LogMelConfig):
        return encoder.width
    from models.audio_encoders import VGGISH_WIDTH, require_transformers, speech_description

    if isinstance(encoder, VggishConfig):
        if not _weights(encoder).is_file():
            raise ValueError(f"there is no file {encoder.weights}; give VGGish's weights as .pth or .safetensors")
        return VGGISH_WIDTH
    require_transformers()
    return speech_description(_weights(encoder), encoder.architecture)["hidden_size"]


def _weights(encoder: SpeechConfig | VggishConfig) -> Path:
    return Path(encoder.weights).expanduser()


def _identity(encoder: AudioEncoder) -> dict[str, Any]:
    """The encoder by what is in its files, wherever they lie."""
    if isinstance(encoder, LogMelConfig):
        return to_json(encoder)
    path, sha = _weights(encoder), hashlib.sha256()
    parts = [file for file in path.iterdir() if file.suffix in _MODEL_FILES] if path.is_dir() else [path]
    for part in sorted(parts):
        with open(part, "rb") as file:
            sha.update(f"{part.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return to_json(replace(encoder, weights=sha.hexdigest()))


def _ear(encoder: AudioEncoder) -> Hear:
    """Loads the encoder."""
    if isinstance(encoder, LogMelConfig):
        return lambda samples_N, time_N: log_mel_at_frames(samples_N, time_N, encoder)
    return _speech_ear(encoder) if isinstance(encoder, SpeechConfig) else _vggish_ear(encoder)


def _speech_ear(encoder: SpeechConfig) -> Hear:
    import torch

    from models.audio_encoders import load_speech_encoder

    model = load_speech_encoder(_weights(encoder), encoder.architecture, encoder.layer).to(_device())

    def hear(samples_N: np.ndarray, time_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        middle_M, state_MD = model(torch.from_numpy(samples_N))
        return at_frames(middle_M.numpy() / SAMPLE_RATE, state_MD.numpy(), *frame_edges(time_N))

    return hear


def _vggish_ear(encoder: VggishConfig) -> Hear:
    import torch

    from models.audio_encoders import VGGISH_BANDS, load_vggish

    model = load_vggish(_weights(encoder)).to(_device())
    hop = max(1, round(encoder.hop_seconds * SAMPLE_RATE / HOP))

    def hear(samples_N: np.ndarray, time_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        middle_E, feature_ED = model.embed(torch.from_numpy(log_mel(samples_N, VGGISH_BANDS)), hop)
        return at_frames(centre_of_window(middle_E.numpy()), feature_ED.numpy(), *frame_edges(time_N))

    return hear


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
