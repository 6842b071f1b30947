from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.action_units import ACTION_UNITS
from pipelines.probe import probe
from pipelines.storage import Storage
from pipelines.synthetic.camera import Camera
from pipelines.synthetic.clip_rendering import clip_renderer, identity_of, performance_of, render_clip, scene_of
from pipelines.synthetic.clip_specs import list_clips
from pipelines.synthetic.config import SYNTHETIC_VERSION, SyntheticConfig
from pipelines.synthetic.corpus import MANIFEST_FILE, ensure_corpus, render_corpus
from pipelines.video import read_frames

TINY = SyntheticConfig(speakers_dev=2, speakers_test=1, clips_per_speaker=2, min_seconds=0.4, max_seconds=0.6)
GOLDEN = (
    (15.538, 108.526, 91.836, 57.437),
    (22.308, 92.953, 75.031, 35.162),
    (2.983, 55.975, 54.941, 24.751),
    (20.058, 99.472, 129.738, 43.743),
)
"""Per clip: a weighted sum of landmarks, a tenth of the sum of intensities, mean and deviation of a frame."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    storage = Storage(str(tmp_path_factory.mktemp("corpus")))
    render_corpus(storage, TINY, show_progress=False)
    return storage


def rows(annotation: bytes) -> list[dict[str, float]]:
    return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(io.StringIO(annotation.decode()))]


def test_the_layout_is_voxceleb2s_with_an_annotation_beside_every_video(corpus: Storage) -> None:
    names = {entry.name for entry in corpus.list()}
    videos = {name for name in names if name.endswith(".mp4")}
    assert len(videos) == 6
    for name in videos:
        assert re.fullmatch(r"(dev|test)/mp4/id\d{5}/[\w-]{11}/\d{5}\.mp4", name)
        assert f"annotations/{name[:-4]}.csv" in names
    assert names - videos == {f"annotations/{n[:-4]}.csv" for n in videos} | {"corpus.json", "manifest.json"}


def test_no_speaker_is_in_both_splits() -> None:
    clips = list_clips(SyntheticConfig(speakers_dev=40, speakers_test=10))
    people = {split: {c.path.split("/")[2] for c in clips if c.split == split} for split in ("dev", "test")}
    assert (len(people["dev"]), len(people["test"])) == (40, 10)
    assert not people["dev"] & people["test"]
    assert len({c.path for c in clips}) == len(clips)


def test_the_default_is_60_clips_to_learn_from_and_12_to_test_on() -> None:
    splits = [c.split for c in list_clips(SyntheticConfig())]
    assert (splits.count("dev"), splits.count("test")) == (60, 12)


def test_videos_decode_to_the_frames_and_the_size_the_manifest_says(corpus: Storage) -> None:
    manifest = json.loads(corpus.read(MANIFEST_FILE))
    assert manifest["fingerprint"] == TINY.fingerprint
    for clip in manifest["clips"]:
        info = probe(corpus.read(clip["path"]))
        assert (info.frames, info.width, info.height, info.fps) == (clip["frames"], 224, 224, 25)
        assert len(rows(corpus.read(clip["annotation"]))) == clip["frames"]


def test_the_annotation_holds_openfaces_columns(corpus: Storage) -> None:
    header = corpus.read(list_clips(TINY)[0].annotation_path).decode().splitlines()[0].split(",")
    assert header[:5] == ["frame", "face_id", "timestamp", "confidence", "success"]
    assert header[5:11] == ["pose_Tx", "pose_Ty", "pose_Tz", "pose_Rx", "pose_Ry", "pose_Rz"]
    assert header[11:147] == [f"{axis}_{i}" for axis in "xy" for i in range(68)]
    assert header[147:164] == [f"AU{unit:02d}_r" for unit in ACTION_UNITS if unit != 28]
    assert header[164:] == [f"AU{unit:02d}_c" for unit in ACTION_UNITS]


def test_the_annotation_reads_back_what_was_performed_and_projected(corpus: Storage) -> None:
    spec = list_clips(TINY)[3]
    played, table = performance_of(spec), rows(corpus.read(spec.annotation_path))
    renderer = clip_renderer(spec, Camera())
    for t, row in enumerate(table):
        assert (row["frame"], row["success"], row["confidence"]) == (t + 1, 1, 1)
        assert row["timestamp"] == pytest.approx(t / 25, abs=1e-3)
        points = np.array([(row[f"x_{i}"], row[f"y_{i}"]) for i in range(68)])
        np.testing.assert_allclose(points, renderer.landmarks(played.pose(t)), atol=0.051)
        assert points.min() > 0 and points.max() < 224
        for unit, value in zip(ACTION_UNITS, played.intensity_T18[t], strict=True):
            assert row[f"AU{unit:02d}_c"] == float(value >= 1)
            if unit != 28:
                assert row[f"AU{unit:02d}_r"] == pytest.approx(value, abs=0.0051)
    assert 14 * 90 * 0.9 < table[0]["pose_Tz"] < 14 * 90 * 1.1


def test_the_video_shows_what_was_rendered(corpus: Storage) -> None:
    spec = list_clips(TINY)[0]
    frames = read_frames(corpus.read(spec.path), range(spec.frames), decoder="decord").astype(int)
    renderer, played = clip_renderer(spec, Camera()), performance_of(spec)
    for t in (0, spec.frames - 1):
        picture, _ = renderer.render(played.pose(t))
        assert np.abs(picture - frames[t]).mean() < 5
    assert np.abs(frames[-1] - frames[0]).mean() > 1


def test_the_same_spec_gives_the_same_bytes() -> None:
    spec = list_clips(TINY)[0]
    assert render_clip(spec) == render_clip(spec)


def test_clips_of_a_video_share_person_and_light_and_other_seeds_give_others() -> None:
    clips = list_clips(SyntheticConfig(clips_per_speaker=4))
    first, same_video, other_video, other_person = clips[0], clips[1], clips[2], clips[4]
    assert identity_of(first) == identity_of(same_video) == identity_of(other_video) != identity_of(other_person)
    assert scene_of(first) == scene_of(same_video) != scene_of(other_video)
    assert identity_of(first) != identity_of(replace(first, seed=1))


def test_an_interrupted_rendering_goes_on_where_it_stopped(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    clips = list_clips(TINY)
    render_corpus(storage, TINY, show_progress=False)
    kept = {entry.name: entry.etag for entry in storage.list() if entry.name != MANIFEST_FILE}
    lost = clips[2].path
    storage.remove(lost)
    storage.remove(MANIFEST_FILE)
    render_corpus(storage, TINY, show_progress=False)
    after = {entry.name: entry.etag for entry in storage.list()}
    assert MANIFEST_FILE in after and lost in after
    untouched = set(kept) - {lost, clips[2].annotation_path}
    assert {name: after[name] for name in untouched} == {name: kept[name] for name in untouched}


def test_a_finished_corpus_is_not_rendered_again(corpus: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.synthetic.clip_rendering.render_clip", None)
    assert len(render_corpus(corpus, TINY, show_progress=False)["clips"]) == 6


def test_another_corpus_in_the_same_place_is_refused(corpus: Storage) -> None:
    other = replace(TINY, seed=1)
    with pytest.raises(ValueError, match=TINY.fingerprint):
        render_corpus(corpus, other, show_progress=False)


def test_ray_tasks_write_what_one_process_writes(
    corpus: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    storage = Storage(str(tmp_path))
    ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=300 * 2**20, log_to_driver=False)
    try:
        render_corpus(storage, TINY, num_workers=2, show_progress=False)
    finally:
        ray.shutdown()
    names = [entry.name for entry in corpus.list()]
    assert [entry.name for entry in storage.list()] == names
    assert all(storage.read(name) == corpus.read(name) for name in names)


def test_a_corpus_is_found_again_under_its_fingerprint(tmp_path: Path) -> None:
    config = replace(TINY, speakers_dev=1, speakers_test=0, clips_per_speaker=1, min_seconds=0.2, max_seconds=0.2)
    storage = ensure_corpus(Storage(str(tmp_path)), config)
    assert storage.uri.endswith(f"synthetic-{config.fingerprint}")
    assert storage.exists(list_clips(config)[0].path)


@pytest.mark.parametrize(
    "change",
    [{"speakers_dev": 0}, {"min_seconds": 5.0}, {"size": 33}, {"speakers_test": -1}, {"seed": -1}],
)
def test_an_impossible_config_names_the_value(change: dict) -> None:
    (name, value), *_ = change.items()
    with pytest.raises(ValueError, match=re.escape(f"{name}={value}")):
        SyntheticConfig(**change)


def test_every_field_of_the_config_changes_the_fingerprint() -> None:
    base = SyntheticConfig()
    changed = {
        replace(base, **{name: getattr(base, name) + 2}).fingerprint
        for name in (
            "speakers_dev",
            "speakers_test",
            "clips_per_speaker",
            "clips_per_video",
            "max_seconds",
            "size",
            "seed",
        )
    }
    assert len(changed | {base.fingerprint}) == 8


def test_version_1_is_frozen() -> None:
    """A change that fails here needs a new SYNTHETIC_VERSION and new numbers. The tolerance is for other processors."""
    assert SYNTHETIC_VERSION == 1
    rows = []
    for spec in list_clips(SyntheticConfig(speakers_dev=3, speakers_test=1, max_seconds=4.0))[::5]:
        played, renderer = performance_of(spec), clip_renderer(spec, Camera())
        picture, points = renderer.render(played.pose(spec.frames // 2))
        weights = np.cos(np.arange(points.size)).reshape(points.shape)
        rows.append([(points * weights).sum(), played.intensity_T18.sum() / 10, picture.mean(), picture.std()])
    np.testing.assert_allclose(rows, GOLDEN, atol=0.05)
