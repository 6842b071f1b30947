from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray

from pipelines import annotate as annotate_module
from pipelines import annotate_plan
from pipelines.action_units import baseline_of
from pipelines.annotate import Annotated, annotate
from pipelines.annotate_video import AnnotateConfig
from pipelines.annotations import open_annotations
from pipelines.catalog import Catalog
from pipelines.catalog_build import build
from pipelines.face_mesh import FaceMesh, FaceMeshUnavailable
from pipelines.face_tracks import rescored
from pipelines.storage import Storage
from pipelines.synthetic.openface import write_csv
from pipelines.unit_map import WorkerPool
from pipelines.video import encode_h264
from tests.pipelines import fake_detector
from tests.pipelines.faces import PIXELS_PER_D, crowd
from tests.pipelines.fake_detector import WITH_TWO, WITHOUT_FACE, tracks_of
from tests.pipelines.needs import needs_mediapipe
from tests.pipelines.stream_corpus import FRAMES, video_bytes

NAMES = [
    f"{actor}/video/{view}/happy/level_1/{take:03d}.mp4"
    for actor in ("M003", "W009")
    for view in ("front", "left_30")
    for take in (1, 2)
]
FAKE = AnnotateConfig(detector=fake_detector.NAME)
ONE_BY_ONE = WorkerPool(num_workers=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("detector")


@pytest.fixture(scope="module", autouse=True)
def cluster(folder: Path, s3_variables: dict[str, str]) -> Iterator[None]:
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=300 * 2**20,
        runtime_env={"env_vars": {**s3_variables, fake_detector.FOLDER: str(folder)}},
        log_to_driver=False,
    )
    yield
    ray.shutdown()


@pytest.fixture(autouse=True)
def detector(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty list of what was seen, no fuse, and parts of two videos in shards of four."""
    for path in folder.iterdir():
        path.unlink()
    monkeypatch.setenv(fake_detector.FOLDER, str(folder))
    monkeypatch.setattr(annotate_plan, "_PART_VIDEOS", 2)
    monkeypatch.setattr(annotate_plan, "_SHARD_VIDEOS", 4)
    return folder


@pytest.fixture(scope="module")
def corpus(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    storage = Storage(tmp_path_factory.mktemp("mead"))
    for number, name in enumerate(NAMES):
        storage.write(name, video_bytes(number))
    return build("mead", storage.uri).catalog


@pytest.fixture
def run(corpus: Catalog, tmp_path: Path) -> Callable[..., Annotated]:
    def run(config: AnnotateConfig = FAKE, *, catalog: Catalog = corpus, place: str = "faces") -> Annotated:
        return annotate(catalog, str(tmp_path / place), config, pool=ONE_BY_ONE)

    return run


@pytest.fixture(scope="module")
def whole(corpus: Catalog, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Annotated:
    """All of the corpus, annotated without an interruption."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(fake_detector.FOLDER, str(folder))
        (folder / "seen").unlink(missing_ok=True)
        done = annotate(corpus, str(tmp_path_factory.mktemp("whole") / "faces"), FAKE)
        assert sorted(fake_detector.seen()) == list(range(8))
        (folder / "seen").unlink()
    return done


def statuses(done: Annotated) -> dict[str, str]:
    rows = done.annotations.videos.to_pylist()
    return {row["uri"]: row["status"] for row in rows}


def test_every_video_is_scored_against_its_subject_in_its_view(whole: Annotated) -> None:
    done = whole
    assert (done.videos, done.frames) == (8, 8 * FRAMES)
    assert 0 < done.seconds and 0 < done.cpu_seconds
    for first in (0, 2, 4):
        found = {number: tracks_of(number, FRAMES)[0] for number in (first, first + 1) if number != WITHOUT_FACE}
        baseline = baseline_of([t.features_TF for t in found.values()], [t.facing_T for t in found.values()])
        for number, track in found.items():
            (annotated,) = done.annotations.tracks(NAMES[number])
            assert np.array_equal(annotated.score_T18, rescored(track, baseline).score_T18)
            assert annotated.score_T18.any()
            assert np.array_equal(annotated.landmarks_T682, track.landmarks_T682, equal_nan=True)
    baselines = pq.read_table(f"{done.annotations.place.uri}/baselines.parquet").to_pylist()
    assert [(row["subject"], row["view"], row["frames"]) for row in baselines] == [
        ("M003", "front", 2 * (FRAMES - 1)),
        ("M003", "left_30", 2 * (FRAMES - 1)),
        ("W009", "front", 2 * (FRAMES - 1)),
        ("W009", "left_30", FRAMES - 1),
    ]


def test_a_video_without_a_face_is_recorded_as_such(whole: Annotated) -> None:
    assert {name for name, status in statuses(whole).items() if status == "no_face"} == {NAMES[WITHOUT_FACE]}
    assert whole.annotations.tracks(NAMES[WITHOUT_FACE]) == []


def test_one_face_of_a_video_is_kept_and_all_on_request(run: Callable, whole: Annotated) -> None:
    assert [track.face_id for track in whole.annotations.tracks(NAMES[WITH_TWO])] == [0]
    every = run(replace(FAKE, faces="all")).annotations
    first, second = every.tracks(NAMES[WITH_TWO])
    assert np.array_equal(first.score_T18, whole.annotations.tracks(NAMES[WITH_TWO])[0].score_T18)
    assert np.array_equal(second.score_T18, tracks_of(WITH_TWO, FRAMES)[1].score_T18)  # of nobody we know
    assert every.fingerprint != whole.annotations.fingerprint


def test_interrupted_it_goes_on_where_it_stopped(
    run: Callable, whole: Annotated, detector: Path, tmp_path: Path
) -> None:
    (detector / "fuse").write_text("5")  # within the third part to be worked on
    with pytest.raises(ValueError, match="the fuse is blown"):
        run()
    place = Storage(tmp_path / "faces")
    written = [item.name for item in place.list("parts")]
    finished = fake_detector.seen()[:4]
    assert written == [f"parts/{part:05d}.parquet" for part in sorted({number // 2 for number in finished})]
    assert len(written) == 2
    assert not place.exists("manifest.json")
    with pytest.raises(ValueError, match="no finished annotations"):
        open_annotations(place.uri)

    (detector / "fuse").unlink()
    (detector / "seen").unlink()
    done = run()
    assert sorted([*fake_detector.seen(), *finished]) == list(range(8))
    assert (done.videos, done.annotations.fingerprint) == (4, whole.annotations.fingerprint)
    assert list(place.list("parts")) == []


def test_interrupted_after_the_last_video_no_video_is_seen_again(
    run: Callable, detector: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(annotate_module, "publish", fail)
        run()
    assert len(fake_detector.seen()) == 8
    first = run()
    again = run()
    assert len(fake_detector.seen()) == 8
    assert (first.videos, again.videos) == (0, 0)
    assert first.annotations.fingerprint == again.annotations.fingerprint


def test_another_catalog_or_config_in_the_same_place_is_refused_by_name(whole: Annotated, corpus: Catalog) -> None:
    uri = whole.annotations.place.uri
    with pytest.raises(ValueError, match="holds annotations with faces=largest, not all; .*; give another place"):
        annotate(corpus, uri, replace(FAKE, faces="all"))
    other = replace(corpus, fingerprint="0" * 64)
    with pytest.raises(ValueError, match=f"catalog={corpus.fingerprint}, not 0000"):
        annotate(other, uri, FAKE)
    assert open_annotations(uri).fingerprint == whole.annotations.fingerprint


def test_a_video_that_cannot_be_read_is_reported_and_the_others_go_on(
    run: Callable, corpus: Catalog, tmp_path: Path
) -> None:
    shutil.copytree(corpus.root, tmp_path / "copy")
    copy = Storage(tmp_path / "copy")
    copy.remove(NAMES[0])
    copy.write(NAMES[3], video_bytes(3)[:-9] + b"\0" * 9)
    done = run(catalog=replace(corpus, root=copy.uri))
    found = statuses(done)
    assert (found.pop(NAMES[0]), found.pop(NAMES[3]), found.pop(NAMES[6])) == ("missing", "changed", "no_face")
    assert set(found.values()) == {"ok"}
    assert "with another digest" in done.annotations.video(NAMES[3])["detail"]
    assert done.annotations.tracks(NAMES[0]) == []


@needs_mediapipe
def test_the_small_faces_of_a_large_frame_are_found_where_all_are_wanted(run: Callable, tmp_path: Path) -> None:
    frame_HWC, truth = crowd((40, 60), (500, 20), (1000, 90), (280, 420), (780, 440))
    with FaceMesh(8) as mesh:
        assert len(mesh.detect(frame_HWC)) == 0, "in the frame as a whole they are too small"
    file = io.BytesIO()
    encode_h264([frame_HWC] * 5, file, fps=25.0)
    Storage(tmp_path / "crowd").write("people/crowd.mp4", file.getvalue())
    done = run(AnnotateConfig(faces="all"), catalog=build("folder", str(tmp_path / "crowd")).catalog)
    tracks = done.annotations.tracks("people/crowd.mp4")
    assert [track.face_id for track in tracks] == [0, 1, 2, 3, 4]
    assert all(track.valid_T.all() for track in tracks)
    found = np.stack([track.landmarks_T682[0] for track in tracks])
    apart = np.linalg.norm(found[:, None] - truth[None], axis=-1).mean(-1)
    assert sorted(apart.argmin(1)) == [0, 1, 2, 3, 4]
    assert apart.min(1).max() < 0.1 * PIXELS_PER_D


def test_all_faces_of_another_search_are_not_gone_on_with(run: Callable, whole: Annotated, tmp_path: Path) -> None:
    claim = json.loads(whole.annotations.place.read("claim.json"))
    Storage(tmp_path / "faces").write("claim.json", json.dumps(claim | {"faces": "all"}).encode())
    with pytest.raises(ValueError, match="search=None, not 1; give another place"):
        run(replace(FAKE, faces="all"))


def csv(frames: int, *, level: float = 3.0) -> bytes:
    landmarks = np.arange(frames * 136, dtype=np.float32).reshape(frames, 68, 2)
    return write_csv(landmarks, np.full((frames, 18), level, np.float32), np.zeros((frames, 6)), fps=25.0)


def test_a_csv_comes_before_the_detector_and_its_scores_stay(run: Callable, tmp_path: Path) -> None:
    csvs = Storage(tmp_path / "csv")
    for number in (0, 1, 4):
        csvs.write(NAMES[number].replace(".mp4", ".csv"), csv(FRAMES if number != 4 else FRAMES + 3))
    done = run(replace(FAKE, openface=csvs.uri))
    assert sorted(fake_detector.seen()) == [2, 3, 5, 6, 7]
    rows = done.annotations.videos.to_pylist()
    assert [row["source"] for row in rows[:4]] == ["openface", "openface", "mediapipe", "mediapipe"]
    (track,) = done.annotations.tracks(NAMES[0])
    assert track.features_TF is None
    assert (track.score_T18[:, :16] == 3.0).all()
    assert (rows[4]["status"], "the video has 12" in rows[4]["detail"]) == ("changed", True)


def test_a_csv_of_another_program_stops_the_job_and_is_named(run: Callable, tmp_path: Path) -> None:
    csvs = Storage(tmp_path / "csv")
    header = ",".join(["frame", "success", "confidence", *(f"AU{unit:02d}_r" for unit in range(1, 9))])
    csvs.write(NAMES[2].replace(".mp4", ".csv"), (header + "\n" + ",".join(["1"] * 11) + "\n").encode())
    with pytest.raises(ValueError, match=r"csv/M003/video/left_30/happy/level_1/001.csv: "):
        run(replace(FAKE, openface=csvs.uri))


def test_a_folder_without_a_csv_of_these_videos_is_refused(run: Callable, tmp_path: Path) -> None:
    Storage(tmp_path / "csv").write("front/001.csv", csv(FRAMES))
    with pytest.raises(ValueError, match="holds no CSV of any video; 'M003/video/front/happy/level_1/001.csv' would"):
        run(replace(FAKE, openface=str(tmp_path / "csv")))


def test_a_local_and_a_remote_copy_give_the_same(whole: Annotated, corpus: Catalog, s3_bucket: str) -> None:
    remote = Storage(s3_bucket).child("mead")
    for name in NAMES:
        remote.write(name, corpus.storage.read(name))
    done = annotate(replace(corpus, root=remote.uri), f"{s3_bucket}/faces", FAKE)
    assert done.annotations.fingerprint == whole.annotations.fingerprint
    assert len(open_annotations(f"{s3_bucket}/faces").tracks(NAMES[0])) == 1


def test_without_mediapipe_it_says_so_before_any_work(
    run: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(FaceMeshUnavailable, match="pip install --no-deps"):
        run(AnnotateConfig())
    assert [item.name for item in Storage(tmp_path / "faces").list()] == ["claim.json"]


def test_units_are_cut_by_number_and_by_length() -> None:
    frames_N = np.array([5, 5, 5, 50, 1, 1, 1, 1])
    assert annotate_plan.cut(frames_N, max_items=3, max_frames=12) == [0, 2, 3, 4, 7, 8]
    assert annotate_plan.cut(frames_N[:1], max_items=3, max_frames=2) == [0, 1]


def test_a_plan_holds_every_video_once_in_parts_shards_and_groups(corpus: Catalog) -> None:
    plan = annotate_plan.make_plan(corpus, None)
    assert plan.parts.tolist() == [0, 2, 4, 6, 8]
    assert plan.shards.tolist() == [0, 2, 4]
    groups = [group for unit in plan.baseline_units() for group in unit]
    located = {group["group"]: group["rows"] for group in groups}
    assert located == {i: [(i, [0, 1])] for i in range(4)}
    assert plan.group_names().to_pylist()[1] == {"subject": "M003", "view": "left_30"}


def test_wrong_options_are_refused_with_the_remedy() -> None:
    for options, message in (
        ({"max_faces": 0}, "max_faces=0 must be at least 1"),
        ({"detector": "x"}, "must read module:function"),
    ):
        with pytest.raises(ValueError, match=message):
            AnnotateConfig(**options)
