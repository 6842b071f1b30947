from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines.annotations import Annotations, open_annotations, publish, write_shard
from pipelines.face_tracks import FaceTrack
from pipelines.quarantine import Reason
from pipelines.storage import Storage
from pipelines.track_file import VideoFaces, digest, read_file, write_file
from tests.pipelines.face_samples import faces, track, write_annotations


def assert_same(found: FaceTrack, wanted: FaceTrack) -> None:
    for field in fields(FaceTrack):
        a, b = getattr(found, field.name), getattr(wanted, field.name)
        if isinstance(b, np.ndarray):
            assert (a.dtype, a.shape) == (b.dtype, b.shape), field.name
            assert a.tobytes() == b.tobytes(), field.name
        else:
            assert a == b, field.name


@contextmanager
def counted(storage: Storage) -> Iterator[list[tuple[str, int]]]:
    """Name and bytes of everything that is read of a storage meanwhile."""
    filesystem, reads = storage.filesystem, []
    whole = filesystem.cat_file

    def cat_file(path: str, **options: object) -> bytes:
        data = whole(path, **options)
        reads.append((path.removeprefix(storage.uri + "/"), len(data)))
        return data

    filesystem.cat_file = cat_file
    try:
        yield reads
    finally:
        filesystem.cat_file = whole


SHARDS = [
    [faces(f"a/{i:02d}.mp4", track(seed=i)) for i in range(20)],
    [faces("b/0.mp4", track(seed=50), track(seed=51, face_id=1, features=False)), faces("b/1.mp4")],
    [VideoFaces("c/0.mp4", Reason.decode.value, "frame 3 cannot be decoded", [])],
]


def test_tracks_come_back_to_the_bit_with_their_nan_and_their_missing_features(tmp_path: Path) -> None:
    annotations = write_annotations(Storage(tmp_path), SHARDS)
    for shard in SHARDS:
        for video in shard:
            found = annotations.tracks(video.uri)
            assert len(found) == len(video.tracks)
            for one, other in zip(found, video.tracks, strict=True):
                assert_same(one, other)
    assert annotations.tracks("b/0.mp4")[1].features_TF is None


def test_what_became_of_every_video_is_in_the_index_and_in_the_file(tmp_path: Path) -> None:
    annotations = write_annotations(Storage(tmp_path), SHARDS)
    rows = {row["uri"]: row for row in annotations.videos.to_pylist()}
    assert list(rows) == [video.uri for shard in SHARDS for video in shard]
    assert (rows["a/03.mp4"]["faces"], rows["a/03.mp4"]["frames_with_face"], rows["a/03.mp4"]["shard"]) == (1, 11, 0)
    assert (rows["b/0.mp4"]["faces"], rows["b/0.mp4"]["source"]) == (2, "mediapipe")
    assert (rows["b/1.mp4"]["status"], rows["b/1.mp4"]["row_group"], rows["b/1.mp4"]["source"]) == ("no_face", -1, "")
    assert (rows["c/0.mp4"]["status"], rows["c/0.mp4"]["detail"]) == ("decode", "frame 3 cannot be decoded")
    written = list(read_file(write_file(SHARDS[1]), name="shard"))
    assert [(video.uri, video.status, len(video.tracks)) for video in written] == [
        ("b/0.mp4", "ok", 2),
        ("b/1.mp4", "no_face", 0),
    ]


def test_a_shard_is_a_parquet_file_for_any_reader(tmp_path: Path) -> None:
    write_annotations(Storage(tmp_path), SHARDS)
    table = pq.read_table(tmp_path / "shards" / "00001.parquet")
    assert table["uri"].to_pylist() == ["b/0.mp4", "b/0.mp4"]
    assert np.array_equal(
        table["landmarks"][0].values.to_numpy(), track(seed=50).landmarks_T682.ravel(), equal_nan=True
    )


@pytest.mark.parametrize("place", ["local", "s3"])
def test_one_video_is_read_without_the_rest_of_its_shard(
    place: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    storage = Storage(tmp_path if place == "local" else request.getfixturevalue("s3_bucket")).child("faces")
    write_annotations(storage, SHARDS)
    size = storage.size("shards/00000.parquet")
    annotations = open_annotations(storage.uri)
    assert annotations.videos.num_rows == 23
    with counted(annotations.place) as reads:
        annotations.tracks("a/00.mp4")
        cold = list(reads)
        annotations.tracks("a/19.mp4")
    assert {name for name, _ in reads} == {"shards/00000.parquet"}
    assert (len(cold), len(reads)) == (2, 3)  # footer and row group, then a row group
    assert max(bytes_ for _, bytes_ in (cold[1], reads[2])) < size / 15
    with counted(annotations.place) as reads:
        annotations.tracks("b/1.mp4")
    assert reads == []  # the index knows that there is no face


def test_a_copy_carries_no_arrays_and_reads_the_same(tmp_path: Path) -> None:
    annotations = write_annotations(Storage(tmp_path), SHARDS)
    annotations.tracks("a/07.mp4")
    pickled = pickle.dumps(annotations)
    assert len(pickled) < 2000
    copy = pickle.loads(pickled)
    assert copy.fingerprint == annotations.fingerprint
    assert_same(copy.tracks("a/07.mp4")[0], SHARDS[0][7].tracks[0])


def test_the_fingerprint_is_of_what_was_found_not_of_how_it_is_stored(tmp_path: Path) -> None:
    first = write_annotations(Storage(tmp_path / "1"), SHARDS)
    joined = [SHARDS[0] + SHARDS[1] + SHARDS[2]]
    assert write_annotations(Storage(tmp_path / "2"), joined).fingerprint == first.fingerprint
    moved = SHARDS[0][4].tracks[0].landmarks_T682.copy()
    moved[0, 0, 0] = np.nextafter(moved[0, 0, 0], np.float32(np.inf))
    changed = [list(SHARDS[0]), SHARDS[1], SHARDS[2]]
    changed[0][4] = faces("a/04.mp4", replace(SHARDS[0][4].tracks[0], landmarks_T682=moved))
    assert write_annotations(Storage(tmp_path / "3"), changed).fingerprint != first.fingerprint
    lost = [SHARDS[0], SHARDS[1], [faces("c/0.mp4")]]
    assert write_annotations(Storage(tmp_path / "4"), lost).fingerprint != first.fingerprint


def test_before_the_manifest_there_is_nothing_to_open(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    write_shard(storage, 0, SHARDS[0])
    with pytest.raises(ValueError, match="no finished annotations; make them with jobs/annotate_faces.py"):
        open_annotations(storage.uri)


def test_shards_that_lack_a_video_are_not_published(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    videos = write_annotations(Storage(tmp_path / "other"), SHARDS).videos
    written = [write_shard(storage, 0, SHARDS[0])]
    with pytest.raises(ValueError, match="20 videos that are not the 23 of the catalog"):
        publish(storage, written, videos, catalog_fingerprint="x", settings={})
    assert not storage.exists("manifest.json")


def test_an_unknown_video_is_named(tmp_path: Path) -> None:
    annotations = write_annotations(Storage(tmp_path), SHARDS)
    for uri in ("a/99.mp4", "zzz", ""):
        with pytest.raises(ValueError, match=f"no usable video {uri!r}"):
            annotations.tracks(uri)


@pytest.fixture
def stored(tmp_path: Path) -> Annotations:
    return write_annotations(Storage(tmp_path), SHARDS)


def test_a_damaged_shard_is_noticed(stored: Annotations) -> None:
    name = "shards/00000.parquet"
    data = bytearray(stored.place.read(name))
    data[len(data) // 3] ^= 0xFF
    stored.place.write(name, bytes(data))
    broken = []
    for video in SHARDS[0]:
        try:
            stored.tracks(video.uri)
        except ValueError as error:
            assert "annotate again" in str(error)
            broken.append(video.uri)
    assert len(broken) == 1


def test_an_index_that_was_changed_is_refused(stored: Annotations) -> None:
    other = write_annotations(stored.place.child("other"), [[faces("a/0.mp4", track())]])
    stored.place.write("videos.parquet", other.place.read("videos.parquet"))
    with pytest.raises(ValueError, match="does not match the manifest"):
        open_annotations(stored.place.uri).tracks("a/00.mp4")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"landmarks_T682": np.zeros((12, 68, 2))}, r"v.mp4: landmarks_T682 is float64"),
        ({"score_T18": np.zeros((11, 18), np.float32)}, r"score_T18 is float32 \(11, 18\), not float32 \(12, 18\)"),
        ({"valid_T": np.ones(12, np.uint8)}, "valid_T is uint8"),
    ],
)
def test_arrays_of_another_form_are_refused(change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_file([faces("v.mp4", replace(track(), **change))])
    assert digest([track()]) != digest([track(seed=1)])
