"""Features of the frames of videos: a folder or prefix with store.json and one Parquet table for each video.

store.json says what they are and what they were made with; its key is a hash of that. videos/<video>.parquet has one
row for each frame that has features: frame (int32, counted from 0, ascending), time (float64, seconds from the first
frame of the video) and feature (fixed_size_list<float32>[D]). A table is written in one piece, so one that is there is
whole, and extraction goes on where it was stopped. A video without any features has a table without rows.

Values stay float32, lossless: split into bytes and compressed they take about three bytes each.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np

from pipelines.storage import ObjectMissing, Storage

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = "semblance-features-1"
STORE, VIDEOS = "store.json", "videos"
Kind = Literal["vision", "audio", "scores", "foreign"]
Missing = Literal["nearest", "hold", "mask"]

_SUFFIX = ".parquet"
_FOOTER_BYTES = 1 << 16  # holds the footer of a table of three columns, whatever its length


class FeatureStoreError(ValueError):
    """There is no feature store, it is another one, or it lacks what was asked for."""


class FrameFeatures(NamedTuple):
    """Of one video."""

    frame_M: np.ndarray
    """int32, counted from 0, ascending; frames without features are not among them."""
    time_M: np.ndarray
    """float64, seconds."""
    feature_MD: np.ndarray
    """float32."""


@dataclass(frozen=True)
class FeatureStore:
    """An open store. Picklable, as its Storage is."""

    place: Storage
    name: str
    """For messages and tables."""
    kind: Kind
    width: int
    """Values of a frame (D)."""
    made_with: Mapping[str, Any]
    """Everything that decides the values, as JSON: checkpoint or encoder and the fingerprint of the catalog."""

    @classmethod
    def create(cls, place: Storage, *, name: str, kind: Kind, width: int, made_with: Mapping[str, Any]) -> FeatureStore:
        """The store at `place`, which is begun there unless it was before.

        Raises FeatureStoreError where another store lies at `place`, and ValueError for a width below 1 or an unknown
        kind.
        """
        if width < 1 or kind not in get_args(Kind):
            raise ValueError(f"width={width} must be at least 1 and kind={kind!r} one of {', '.join(get_args(Kind))}")
        store = cls(place, name, kind, width, json.loads(json.dumps(made_with)))
        if place.exists(STORE):
            return cls.open(place, key=store.key)
        values = {"format": FORMAT, "name": name, "kind": kind, "width": width, "made_with": store.made_with}
        place.write(STORE, json.dumps(values | {"key": store.key}, indent=1).encode())
        return store

    @classmethod
    def open(cls, place: Storage | str, *, key: str | None = None) -> FeatureStore:
        """The store at a folder or s3://bucket/prefix.

        Raises FeatureStoreError where there is none, it is of another format, its description was changed or, with
        `key`, it was made of other things.
        """
        place = place if isinstance(place, Storage) else Storage(place)
        try:
            values = json.loads(place.read(STORE))
        except ObjectMissing:
            raise FeatureStoreError(
                f"there is no feature store at {place.uri}; jobs/extract_features.py makes one and prints its address"
            ) from None
        if values.get("format") != FORMAT:
            raise FeatureStoreError(f"{place.uri} has the format {values.get('format')!r}, this version reads {FORMAT}")
        store = cls(place, values["name"], values["kind"], values["width"], values["made_with"])
        if store.key != values["key"]:
            raise FeatureStoreError(f"{place.full(STORE)} was changed after it was written: its key does not match")
        if key is not None and store.key != key:
            raise FeatureStoreError(
                f"{place.uri} holds features of other things, made with {json.dumps(store.made_with)}; give these "
                "another place"
            )
        return store

    @property
    def key(self) -> str:
        """64 hexadecimal digits: equal where the features are."""
        return store_key(self.kind, self.width, self.made_with)

    def has(self, video: str) -> bool:
        return self.place.exists(_table_name(video))

    def videos(self) -> Iterator[str]:
        """Names of the videos that are done, ascending, those without features among them."""
        for item in self.place.list(VIDEOS):
            if item.name.endswith(_SUFFIX):
                yield item.name[len(VIDEOS) + 1 : -len(_SUFFIX)]

    def write(self, video: str, frame_M: np.ndarray, time_M: np.ndarray, feature_MD: np.ndarray) -> None:
        """The features of a video, in one piece. Raises ValueError for arrays that do not fit the store or each other,
        frames that do not ascend and values that are not finite."""
        frame_M, time_M, feature_MD = np.asarray(frame_M), np.asarray(time_M), np.asarray(feature_MD)
        self._check(video, frame_M, time_M, feature_MD)
        self.place.write(_table_name(video), _to_bytes(_table(frame_M, time_M, feature_MD)))

    def read(self, video: str) -> FrameFeatures:
        """Raises FeatureStoreError for a video that is not done, and for a table that is not one of this store."""
        import pyarrow as pa

        table = self._table(video).combine_chunks()
        feature = table["feature"].combine_chunks()
        if feature.type != pa.list_(pa.float32(), self.width):
            raise FeatureStoreError(
                f"features of {video!r} are {feature.type}, the store {self.place.uri} says "
                f"{self.width} values of float32"
            )
        return FrameFeatures(
            table["frame"].to_numpy(),
            table["time"].to_numpy(),
            feature.flatten().to_numpy(zero_copy_only=False).reshape(-1, self.width),
        )

    def frames(self, video: str) -> np.ndarray:
        """The frames of a video that have features, int32, ascending. Raises FeatureStoreError for a video that is not
        done."""
        return self._table(video, columns=("frame",))["frame"].to_numpy()

    def num_frames(self, video: str) -> int:
        """How many frames of a video have features, from the end of its table. Raises ObjectMissing."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        name = _table_name(video)
        size = self.place.size(name)
        tail = self.place.read_range(name, max(0, size - _FOOTER_BYTES), size)
        return pq.read_metadata(pa.BufferReader(tail)).num_rows

    def _table(self, video: str, *, columns: tuple[str, ...] | None = None) -> pa.Table:
        from pipelines.parquet import TableRefused, read_table

        name = _table_name(video)
        try:
            return read_table(self.place.read(name), name=self.place.full(name), columns=columns)
        except ObjectMissing:
            raise FeatureStoreError(f"the feature store {self.place.uri} has no video {video!r}") from None
        except TableRefused as error:
            raise FeatureStoreError(str(error)) from None

    def _check(self, video: str, frame_M: np.ndarray, time_M: np.ndarray, feature_MD: np.ndarray) -> None:
        if frame_M.ndim != 1 or time_M.shape != frame_M.shape or feature_MD.shape != (len(frame_M), self.width):
            shapes = f"frames {frame_M.shape}, times {time_M.shape} and features {feature_MD.shape}"
            raise ValueError(f"{shapes} of {video!r} do not fit a store of {self.width} values each")
        if len(frame_M) and (frame_M[0] < 0 or np.any(np.diff(frame_M.astype(np.int64)) < 1)):
            raise ValueError(f"frames of {video!r} must count from 0 and ascend without repeats")
        if not (np.isfinite(time_M).all() and np.isfinite(feature_MD).all()):
            raise ValueError(f"times or features of {video!r} are not finite")


def store_key(kind: Kind, width: int, made_with: Mapping[str, Any]) -> str:
    """The key of a store of such features, before there is one."""
    content = json.dumps([FORMAT, kind, width, made_with], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def frame_times(num_frames: int, fps: float) -> np.ndarray:
    """When the frames of a video with a steady frame rate begin, float64 [N], seconds. Raises ValueError for a rate
    that is not a positive number."""
    if not (np.isfinite(fps) and fps > 0):
        raise ValueError(f"fps={fps} must be a positive number")
    return np.arange(num_frames) / fps


def align(
    frame_M: np.ndarray, feature_MD: np.ndarray, num_frames: int, missing: Missing
) -> tuple[np.ndarray, np.ndarray]:
    """Features of all frames of a video, from those of the frames that have some.

    Args:
        frame_M: ascending; frames from `num_frames` on are left out.
        missing: what stands for a frame without features. nearest: those of the nearest frame that has some, of two
            the earlier (NetEase 3.2); hold: those of the last frame before that has some, at the beginning of the video
            of the first (CtyunAI's code, in training); mask: zeros (CtyunAI's code, in testing).

    Returns:
        feature_ND (float32) and present_N (bool): whether the frame itself had features. Of a video without any
        features all are zero and absent.
    """
    inside_M = np.asarray(frame_M) < num_frames
    frame_M, feature_MD = np.asarray(frame_M, np.int64)[inside_M], np.asarray(feature_MD, np.float32)[inside_M]
    present_N = np.zeros(num_frames, bool)
    present_N[frame_M] = True
    if missing == "mask" or not len(frame_M):
        feature_ND = np.zeros((num_frames, feature_MD.shape[1]), np.float32)
        feature_ND[frame_M] = feature_MD
        return feature_ND, present_N
    asked_N = np.arange(num_frames)
    before_N = np.maximum(np.searchsorted(frame_M, asked_N, side="right") - 1, 0)
    if missing == "hold":
        return feature_MD[before_N], present_N
    after_N = np.minimum(before_N + 1, len(frame_M) - 1)
    is_nearer_N = np.abs(frame_M[after_N] - asked_N) < np.abs(asked_N - frame_M[before_N])
    return feature_MD[np.where(is_nearer_N, after_N, before_N)], present_N


def _table_name(video: str) -> str:
    return f"{VIDEOS}/{video}{_SUFFIX}"


def _table(frame_M: np.ndarray, time_M: np.ndarray, feature_MD: np.ndarray) -> pa.Table:
    import pyarrow as pa

    values = pa.array(np.ascontiguousarray(feature_MD, np.float32).ravel())
    return pa.table(
        {
            "frame": pa.array(frame_M.astype(np.int32)),
            "time": pa.array(time_M.astype(np.float64)),
            "feature": pa.FixedSizeListArray.from_arrays(values, feature_MD.shape[1]),
        }
    )


def _to_bytes(table: pa.Table) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", use_dictionary=False, use_byte_stream_split=True)
    return sink.getvalue().to_pybytes()
