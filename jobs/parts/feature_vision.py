"""Features of frames by a trained model: blocks of images are read on the CPUs of the cluster and computed where the
models are, as in jobs.parts.inference; the driver puts the frames of a video together and writes them.

A frame is shown to a fine-tuned model as its test clips were, to any other encoder as the largest centred square of the
image; a video encoder sees it once in every frame of its clip.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cluster.preflight import cluster_capacity
from jobs.config import to_json
from jobs.parts.feature_config import VisionConfig
from jobs.parts.feature_rejections import rejected, write_rejections
from jobs.parts.finetune_config import FinetuneConfig
from jobs.parts.inference import InferenceConfig, model_outputs, pools
from jobs.parts.trained import ALL, AnyConfig, load_trained
from pipelines.batch_reader import VIDEO_COLUMNS, fetch, video_at
from pipelines.clips import ClipConfig
from pipelines.feature_store import FeatureStore, Kind
from pipelines.frame_videos import FrameVideo
from pipelines.labelled_sample import LabelledSampleConfig, read_test_clips
from pipelines.progress import progress
from pipelines.quarantine import SampleError, rejection
from pipelines.storage import Storage, StorageError
from pipelines.transforms import CropConfig

if TYPE_CHECKING:
    from pipelines.catalog import Catalog

_FRAMES_PER_BLOCK, _BYTES_PER_BLOCK = 128, 1 << 25
_STOP = "stop"  # marks an error that is not the fault of a frame


@dataclass(frozen=True)
class VisionExtraction:
    """Features of all usable images of a catalog."""

    inference: InferenceConfig
    catalog: Catalog
    width: int
    made_with: Mapping[str, Any]

    @property
    def kind(self) -> Kind:
        return "scores" if self.inference.output == "scores" else "vision"

    def extract(self, videos: Sequence[FrameVideo], store: FeatureStore) -> dict[str, int]:
        """Raises StorageError where images cannot be reached, and InsufficientResources."""
        gathering = Gathering(videos, self.catalog, store)
        gathering.begin()
        row_N = np.concatenate([np.zeros(0, np.int64), *(video.row_M for video in videos)])
        with progress(self.inference.output, len(row_N)) as advance:
            for batch in _outputs(self.inference, self.catalog, row_N) if len(row_N) else ():
                gathering.take(batch)
                advance(len(batch["sample_id_V"]))
        return gathering.frames


def prepare_vision(config: VisionConfig, catalog: Catalog) -> VisionExtraction:
    """For a config that says which model. Raises ValueError for one that follows faces, and as `load_trained`."""
    trained = load_trained(config.init_from, (FinetuneConfig,) if config.output == "scores" else ALL)
    sample, origin = shown(trained.config), trained.provenance["checkpoint"]
    is_scores = config.output == "scores"
    checkpoint = config.init_from if config.init_from.endswith(".safetensors") else origin
    return VisionExtraction(
        inference=InferenceConfig(checkpoint, config.output, sample, clips=1, untrained=config.untrained),
        catalog=catalog,
        width=len(trained.config.model.classes) if is_scores else trained.model().encoder.embed_dim,
        made_with={
            "checkpoint": origin,
            "untrained": config.untrained,
            "output": config.output,
            "sample": to_json(sample),
            "catalog": catalog.fingerprint,
        },
    )


def shown(config: AnyConfig) -> LabelledSampleConfig:
    """How a model of this config sees an image. Raises ValueError where it is to follow the face."""
    if isinstance(config, FinetuneConfig):
        if config.sample().follows_face:
            raise ValueError(
                "the model was fine-tuned on crops that follow the face; features of frames are taken of images that "
                "are cropped to it: fine-tune with a crop of the image"
            )
        return config.sample()
    geometry = config.model.geometry
    return LabelledSampleConfig(
        clip=ClipConfig(frames=geometry.frames, stride=1),
        crop=CropConfig(window=None, size=geometry.height),
        geometry=geometry,
    )


class Gathering:
    """Puts the frames of videos together as they arrive, in any order, and writes each video that is complete."""

    def __init__(self, videos: Sequence[FrameVideo], catalog: Catalog, store: FeatureStore) -> None:
        self._videos, self._store = videos, store
        self._fps_N = catalog.table["fps"].to_numpy()
        self._video_N, self._frame_N = (np.full(catalog.table.num_rows, -1) for _ in range(2))
        for index, video in enumerate(videos):
            self._video_N[video.row_M], self._frame_N[video.row_M] = index, video.frame_M
        self._left = [len(video.row_M) for video in videos]
        self._features: dict[int, dict[int, np.ndarray]] = defaultdict(dict)
        self._rejected: dict[int, list[dict[str, Any]]] = defaultdict(list)
        self.frames: dict[str, int] = {}
        """How many frames have features, of the videos that are written."""

    def begin(self) -> None:
        """Writes the videos that nothing will arrive of."""
        for index, left in enumerate(self._left):
            if not left:
                self._write(index)

    def take(self, batch: Mapping[str, np.ndarray]) -> None:
        """What a model returned of a block. Raises StorageError where a frame could not be reached."""
        found = zip(batch["sample_id_V"].tolist(), batch["output_VK"], batch["error_V"].tolist(), strict=True)
        for row, feature_D, error in found:
            index = int(self._video_N[row])
            if error:
                self._reject(index, int(self._frame_N[row]), json.loads(error))
            else:
                self._features[index][row] = feature_D
            self._left[index] -= 1
            if not self._left[index]:
                self._write(index)

    def _reject(self, index: int, frame: int, error: dict[str, str]) -> None:
        if _STOP in error:
            raise StorageError(error[_STOP])
        self._rejected[index].append(rejected(self._videos[index].name, frame=frame, **error))

    def _write(self, index: int) -> None:
        video, features = self._videos[index], self._features.pop(index, {})
        row_M = np.array([row for row in video.row_M.tolist() if row in features], np.int64)
        feature_MD = np.array([features[row] for row in row_M.tolist()], np.float32).reshape(-1, self._store.width)
        write_rejections(
            self._store.place, video.name, sorted(self._rejected.pop(index, []), key=lambda one: one["frame"])
        )
        frame_M = self._frame_N[row_M]
        self._store.write(video.name, frame_M, frame_M / self._fps_N[row_M], feature_MD)
        self.frames[video.name] = len(frame_M)


class FrameReader:
    """Runs in a reader: the images of a block of catalog rows as a model sees them."""

    def __init__(self, videos: Any, storage: Storage, config: InferenceConfig) -> None:
        import ray

        self._videos, self._storage, self._config = ray.get(videos), storage, config

    def __call__(self, block: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """clip_VTHWC, sample_id_V and error_V: "" or why a frame has no picture, as JSON. An exception would reach the
        driver as one of Ray's, without its type."""
        rows = block["row"].tolist()
        clip_VTHWC = np.zeros((len(rows), *self._config.sample.clip_shape), np.uint8)
        errors = [self._read(row, out_THWC) for row, out_THWC in zip(rows, clip_VTHWC, strict=True)]
        return {"clip_VTHWC": clip_VTHWC, "sample_id_V": block["row"], "error_V": np.array(errors, object)}

    def _read(self, row: int, out_THWC: np.ndarray) -> str:
        video = video_at(self._videos, row)
        try:
            data = fetch(self._storage, video)
            out_THWC[:] = read_test_clips(video, data, self._config.sample, clips=1)[0]
        except SampleError as error:
            return rejection(video.uri, error)
        except StorageError as error:
            return json.dumps({_STOP: str(error)})
        return ""


def _outputs(config: InferenceConfig, catalog: Catalog, row_N: np.ndarray) -> Any:
    """Blocks of what the model says of these rows of the catalog."""
    import pyarrow as pa
    import ray

    step = max(1, min(_FRAMES_PER_BLOCK, _BYTES_PER_BLOCK // int(np.prod(config.sample.clip_shape))))
    blocks = [pa.table({"row": row_N[start : start + step]}) for start in range(0, len(row_N), step)]
    table = ray.put(catalog.table.select(VIDEO_COLUMNS))
    shared = {"videos": table, "storage": catalog.storage, "config": config}
    outputs = model_outputs(config, pools(cluster_capacity()), blocks, FrameReader, shared)
    return outputs.iter_batches(batch_size=None, batch_format="numpy")
