"""How a cluster is shared out between readers of test clips and models."""

from __future__ import annotations

import pytest

from cluster.preflight import Capacity, check
from jobs.parts.inference import InferenceConfig, clips_at_once, pools, videos_per_block
from models.tokens import ClipGeometry
from pipelines.clips import ClipConfig
from pipelines.labelled_sample import LabelledSampleConfig
from pipelines.transforms import CropConfig


@pytest.mark.parametrize(
    ("cpus", "gpus", "readers", "models"), [(0.5, 0, 1, 1), (1, 1, 1, 1), (2, 0, 1, 1), (16, 0, 12, 4), (16, 1, 15, 1)]
)
def test_readers_and_models_fill_the_cluster_and_fit(cpus: float, gpus: float, readers: int, models: int) -> None:
    capacity = Capacity(cpus, gpus, cpus, gpus)
    reader, model = pools(capacity)
    assert (reader.count, model.count, model.gpus) == (readers, models, 1.0 if gpus else 0.0)
    check([reader, model], capacity)


@pytest.mark.parametrize("cpus", [1, 2, 3, 4, 7, 8, 12, 16.5, 100])
@pytest.mark.parametrize("gpus", [0, 1, 2, 8])
def test_a_cluster_of_any_size_holds_its_pools(cpus: float, gpus: float) -> None:
    capacity = Capacity(cpus, gpus, cpus, gpus)
    check(pools(capacity), capacity)


@pytest.mark.parametrize(
    ("frames", "clips", "videos", "readers", "together", "block"),
    [
        (16, 2, 10_000, 3, 8, 4),  # of long clips a few
        (16, 1, 10_000, 3, 8, 8),
        (1, 1, 10_000, 3, 128, 128),
        (1, 1, 300, 12, 128, 25),  # something for every reader
        (1, 1, 5, 12, 128, 4),
        (256, 10, 10_000, 3, 1, 4),
    ],
)
def test_images_are_read_and_computed_many_at_a_time_and_every_reader_has_some(
    frames: int, clips: int, videos: int, readers: int, together: int, block: int
) -> None:
    geometry = ClipGeometry(frames=frames, height=64, width=64, tubelet=1)
    sample = LabelledSampleConfig(clip=ClipConfig(frames=frames), crop=CropConfig(None, size=64), geometry=geometry)
    config = InferenceConfig("run", "features", sample, clips)
    assert (clips_at_once(sample), videos_per_block(config, videos, readers)) == (together, block)
