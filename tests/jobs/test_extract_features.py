"""Features of frames by a model on a cluster: those of the model, each frame once, gone on with where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import safetensors.torch
import torch

from cluster.commit import COMMIT, DIRECTORY, Commit, FileEntry, Progress
from jobs.config import to_json
from jobs.parts import feature_run
from jobs.parts.command_line import Command
from jobs.parts.feature_config import AudioConfig, FeatureConfig, VisionConfig
from jobs.parts.feature_run import run_extraction
from jobs.parts.feature_vision import Gathering, prepare_vision
from jobs.parts.inference import ClipModel
from jobs.parts.labelled_config import LabelledCorpusConfig
from models import fine_tuning
from models.features import pooled_features
from pipelines.alignment import AlignConfig
from pipelines.catalog import Catalog
from pipelines.feature_store import FeatureStore
from pipelines.frame_videos import frame_videos
from pipelines.storage import Storage, StorageError
from tests.jobs.tiny import RUN, tiny_config, tiny_model, write_run
from tests.jobs.tiny_finetuning import finetune_config
from tests.pipelines.frame_corpus import picture, write_frames
from tests.pipelines.sounds import tone, write_movie

VIDEOS = {"a_left": [0, 1, 3], "a_right": [2], "b": range(40), "c": [5, 6]}
DAMAGED, UNUSABLE = "cropped_aligned/b/00008.png", "cropped_aligned/c/00006.png"


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=300 * 2**20, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """One file was damaged since the catalog was built; one more image could not be used even then."""
    catalog = write_frames(tmp_path / "corpus", VIDEOS, unusable={UNUSABLE: "no_face"})
    path = tmp_path / "corpus" / DAMAGED
    path.write_bytes(path.read_bytes()[:-60] + bytes(60))
    return catalog


@pytest.fixture
def run(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> Callable[[FeatureConfig, Storage], dict[str, Any]]:
    monkeypatch.setattr(feature_run, "prepare_labelled", lambda corpus, home: ("", catalog))
    return lambda config, home: run_extraction(Command(config), home)


@pytest.fixture
def vision(tmp_path: Path) -> VisionConfig:
    """With the weights of a tiny video encoder, which sees an image four times."""
    write_run(tmp_path / RUN, tiny_config("video_vit_nano"))
    return VisionConfig("vision", init_from=str(tmp_path / RUN))


def assert_equal(one: FeatureStore, other: FeatureStore) -> None:
    """Blocks are cut otherwise, and a matrix product of another size may round otherwise."""
    assert list(one.videos()) == list(other.videos())
    for video in one.videos():
        a, b = one.read(video), other.read(video)
        assert np.array_equal(a.frame_M, b.frame_M) and np.array_equal(a.time_M, b.time_M)
        assert np.allclose(a.feature_MD, b.feature_MD, atol=1e-5)


def expected_features(frames: list[tuple[str, int]]) -> np.ndarray:
    encoder = tiny_model(tiny_config("video_vit_nano")).eval().encoder
    clip_BTHWC = torch.tensor(np.stack([np.repeat(picture(*frame)[None], 4, axis=0) for frame in frames]))
    with torch.inference_mode():
        return pooled_features(encoder, clip_BTHWC).numpy()


def test_what_was_stopped_is_gone_on_with_and_equals_what_was_made_in_one_go(
    cluster: None, run: Callable, vision: VisionConfig, tmp_path: Path
) -> None:
    result = run(vision, Storage(tmp_path / "home"))
    store = FeatureStore.open(result["store"], key=result["key"])
    assert result["store"].startswith(str(tmp_path / "home/features/vision-"))
    assert (result["videos"], result["frames"], result["empty"], result["width"]) == (4, 44, 0, store.width)
    assert result["missing"] == {"decode": 1, "no_face": 1}
    (bad,) = map(json.loads, store.place.read("quarantine.jsonl").splitlines())
    assert (bad["video"], bad["frame"], bad["uri"]) == ("b", 7, DAMAGED)
    assert store.read("b").frame_M.tolist() == [frame for frame in range(40) if frame != 7]
    assert store.read("c").frame_M.tolist() == [6]
    found = store.read("a_left")
    assert found.frame_M.tolist() == [0, 1, 3] and np.allclose(found.time_M, [0, 0.04, 0.12])
    assert np.allclose(found.feature_MD, expected_features([("a_left", f) for f in (0, 1, 3)]), atol=1e-5)

    stopped = Storage(tmp_path / "stopped")
    place = stopped.child("features", store.place.uri.rpartition("/")[2])
    for name in ("store.json", "videos/b.parquet", "rejected/b.json", "videos/c.parquet"):
        place.write(name, store.place.read(name))
    before = {item.name: item.etag for item in place.list("videos")}
    again = run(vision, stopped)
    after = {item.name: item.etag for item in place.list("videos")}
    assert {name: after[name] for name in before} == before and len(after) == 4
    assert_equal(FeatureStore.open(place), store)
    assert {name: again[name] for name in ("videos", "frames", "missing", "key")} == {
        name: result[name] for name in ("videos", "frames", "missing", "key")
    }
    assert run(vision, stopped) == again and {item.name: item.etag for item in place.list("videos")} == after


def computed(config: VisionConfig, catalog: Catalog, frames: list[tuple[str, int]]) -> np.ndarray:
    """What the actor with the model says of these frames."""
    clip_VTHWC = np.stack([np.repeat(picture(*frame)[None], 4, axis=0) for frame in frames])
    batch = {"clip_VTHWC": clip_VTHWC, "sample_id_V": np.arange(len(frames)), "error_V": np.full(len(frames), "")}
    return ClipModel(prepare_vision(config, catalog).inference)(batch)["output_VK"]


def test_scores_are_those_of_the_fine_tuned_model(catalog: Catalog, tmp_path: Path) -> None:
    config = finetune_config(LabelledCorpusConfig("enterface05"))
    config = replace(config, model=replace(config.model, classes=("low", "mid", "high")))
    torch.manual_seed(1)
    model = fine_tuning.build(config.model).eval()
    write_finetuned(tmp_path / "tuned", config, model)
    asked = VisionConfig("vision", init_from=str(tmp_path / "tuned"), output="scores")
    extraction = prepare_vision(asked, catalog)
    assert (extraction.kind, extraction.width) == ("scores", 3)
    score_MK = computed(asked, catalog, [("a_right", 2)])
    clip_BTHWC = torch.tensor(np.repeat(picture("a_right", 2)[None, None], 4, axis=1))
    assert np.allclose(score_MK, model.predict(clip_BTHWC).numpy(), atol=1e-5) and np.isclose(score_MK.sum(), 1)
    assert prepare_vision(replace(asked, output="features"), catalog).width == model.encoder.embed_dim


def test_weights_that_never_learned_can_be_compared_with(catalog: Catalog, vision: VisionConfig) -> None:
    frames = [("a_left", 0), ("a_left", 1)]
    assert np.allclose(computed(vision, catalog, frames), expected_features(frames), atol=1e-5)
    fresh = replace(vision, untrained=3)
    assert not np.allclose(computed(fresh, catalog, frames), expected_features(frames), atol=1e-2)
    assert prepare_vision(fresh, catalog).made_with != prepare_vision(vision, catalog).made_with


def test_the_sound_of_recordings_is_heard_on_the_cluster(cluster: None, run: Callable, catalog, tmp_path: Path) -> None:
    Path(catalog.root, "videos").mkdir()
    write_movie(Path(catalog.root, "videos/a.mp4"), tone(1.0), frames=25)
    write_movie(Path(catalog.root, "videos/b.avi"), None, frames=5)
    result = run(AudioConfig("log_mel"), Storage(tmp_path / "home"))
    assert (result["kind"], result["width"], result["videos"]) == ("audio", 128, 4)
    assert (result["frames"], result["empty"], result["missing"]) == (50, 2, {"no_sound": 1, "missing": 1})
    assert run(AudioConfig("log_mel"), Storage(tmp_path / "home")) == result


def write_finetuned(folder: Path, config, model: torch.nn.Module) -> None:
    """A checkpoint as a fine-tuning writes it."""
    name, storage = "step-00000003-0a", Storage(folder / DIRECTORY)
    content = safetensors.torch.save({key: value.contiguous() for key, value in model.state_dict().items()})
    storage.write(f"{name}/weights-00000-000.safetensors", content)
    values = {"job": config.JOB, **to_json(config)}
    commit = Commit(
        name=name,
        step=3,
        epoch=1,
        world_size=1,
        created="2030-01-01T00:00:00+00:00",
        progress=Progress.start(10).counts(),
        engine={"updates": 3},
        metadata={"run": "tuned", "seed": 0, "stream": "0:train", "config": values},
        files={"weights-00000-000.safetensors": FileEntry.of(content)},
    )
    storage.write(f"{name}/{COMMIT}", commit.to_json())


def gathered(catalog: Catalog, place: Storage, width: int = 2) -> Gathering:
    store = FeatureStore.create(place, name="x", kind="vision", width=width, made_with={})
    return Gathering(frame_videos(catalog), catalog, store)


def block(rows: list[int], errors: list[str] | None = None) -> dict[str, np.ndarray]:
    return {
        "sample_id_V": np.array(rows),
        "output_VK": np.array([[row, -row] for row in rows], np.float32),
        "error_V": np.array(errors or [""] * len(rows), object),
    }


def test_a_video_is_written_when_its_last_frame_arrives_in_whatever_order(tmp_path: Path) -> None:
    catalog = write_frames(tmp_path / "c", {"a": [0, 2, 3], "b": [1]})
    gathering, store = gathered(catalog, Storage(tmp_path / "s")), FeatureStore.open(str(tmp_path / "s"))
    gathering.begin()
    gathering.take(block([2, 0]))
    assert list(store.videos()) == []
    gathering.take(block([3, 1]))
    assert list(store.videos()) == ["a", "b"] and gathering.frames == {"a": 3, "b": 1}
    found = store.read("a")
    assert found.frame_M.tolist() == [0, 2, 3] and found.feature_MD[:, 0].tolist() == [0, 1, 2]


def test_a_video_of_which_nothing_can_be_used_is_written_empty(tmp_path: Path) -> None:
    catalog = write_frames(tmp_path / "c", {"a": [0], "b": [1]}, unusable={"cropped_aligned/a/00001.png": "decode"})
    gathering, store = gathered(catalog, Storage(tmp_path / "s")), FeatureStore.open(str(tmp_path / "s"))
    gathering.begin()
    error = json.dumps({"uri": "cropped_aligned/b/00002.png", "reason": "missing", "detail": "gone"})
    gathering.take(block([1], [error]))
    assert gathering.frames == {"a": 0, "b": 0} and list(store.videos()) == ["a", "b"]
    assert [item.name for item in store.place.list("rejected")] == ["rejected/b.json"]


def test_a_store_that_fails_stops_the_work_and_is_no_fault_of_a_frame(tmp_path: Path) -> None:
    gathering = gathered(write_frames(tmp_path / "c", {"a": [0]}), Storage(tmp_path / "s"))
    with pytest.raises(StorageError, match="no route"):
        gathering.take(block([0], [json.dumps({"stop": "no route"})]))


def test_a_model_that_follows_faces_is_refused(catalog: Catalog, tmp_path: Path) -> None:
    config = finetune_config(LabelledCorpusConfig("enterface05"), crop=AlignConfig(size=64, flip=False))
    config = replace(config, model=replace(config.model, classes=("low", "high")))
    write_finetuned(tmp_path / "tuned", config, fine_tuning.build(config.model))
    with pytest.raises(ValueError, match="follow the face"):
        prepare_vision(VisionConfig("vision", init_from=str(tmp_path / "tuned")), catalog)
