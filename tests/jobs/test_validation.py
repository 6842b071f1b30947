"""What fine-tuning measures on validation videos is the same on any number of workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from jobs.parts.validation import ValidationConfig, build_validation
from pipelines.catalog import save
from pipelines.labelled_reader import read_test_batch
from pipelines.labelled_videos import labelled_videos, targets
from tests.cluster.workers import Workers
from tests.pipelines.labelled_corpus import LABELLED_SAMPLE, PROTOCOL, UNLABELLED, VIDEOS, write_labelled

IDS = tuple(i for i in range(VIDEOS) if i != UNLABELLED)[:7]


class Opinion(nn.Module):
    """Scores that depend on every pixel of a clip."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def predict(self, clip_BTHWC: Tensor) -> Tensor:
        assert not self.training
        grey_B = clip_BTHWC.float().mean((1, 2, 3, 4))
        return torch.stack([torch.sin(100 * grey_B), torch.cos(37 * grey_B)], dim=1)


def measure(config: ValidationConfig) -> dict[str, float]:
    """Runs on a rank."""
    return build_validation(config)(Opinion().train(), step=0)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ValidationConfig:
    folder = tmp_path_factory.mktemp("labelled")
    save(write_labelled(folder / "corpus"), str(folder / "catalog.parquet"))
    return ValidationConfig(str(folder / "catalog.parquet"), PROTOCOL.name, IDS, LABELLED_SAMPLE)


@pytest.fixture(scope="module")
def workers() -> Iterator[dict[int, Workers]]:
    found = {size: Workers(size) for size in (1, 2)}
    yield found
    for group in found.values():
        group.close()


def expected(config: ValidationConfig) -> float:
    """The share that is right, computed from one clip of every video in this process."""
    from pipelines.catalog import load

    catalog = load(config.catalog)
    videos = labelled_videos(catalog, PROTOCOL, LABELLED_SAMPLE)
    rows = [i for i, sample_id in enumerate(videos["sample_id"].to_pylist()) if sample_id in IDS]
    clips = read_test_batch(videos, rows, storage=catalog.storage, config=LABELLED_SAMPLE, clips=1)["clip_VTHWC"]
    said_N = Opinion().eval().predict(torch.from_numpy(clips)).argmax(1).numpy()
    return float((said_N == targets(videos)[rows].argmax(1)).mean())


def test_seven_videos_are_each_counted_once_by_one_worker_and_by_two(
    config: ValidationConfig, workers: dict[int, Workers]
) -> None:
    (alone,), together = workers[1].run(measure, config), workers[2].run(measure, config)
    assert together == [alone, alone]
    assert alone["accuracy"] == pytest.approx(expected(config)) and 0 < alone["accuracy"] < 1


def test_fewer_videos_than_workers_are_enough(config: ValidationConfig, workers: dict[int, Workers]) -> None:
    single = ValidationConfig(config.catalog, config.protocol, IDS[:1], config.sample)
    (alone,), together = workers[1].run(measure, single), workers[2].run(measure, single)
    assert together == [alone, alone]


def test_a_validation_video_that_cannot_be_used_is_named(tmp_path: Path, workers: dict[int, Workers]) -> None:
    catalog = write_labelled(tmp_path / "corpus", {IDS[1]: {"status": "decode"}})
    save(catalog, str(tmp_path / "catalog.parquet"))
    broken = ValidationConfig(str(tmp_path / "catalog.parquet"), PROTOCOL.name, IDS, LABELLED_SAMPLE)
    uri = catalog.table["uri"][IDS[1]].as_py()
    with pytest.raises(ValueError, match=f"{uri} cannot be used: decode"):
        workers[1].run(measure, broken)
