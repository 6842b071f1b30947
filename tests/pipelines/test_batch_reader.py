"""Micro-batches without Ray: rows that cannot be used stay, are empty and say why."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.tokens import PRETRAINING_BATCH, check_batch
from pipelines.alignment import AlignConfig
from pipelines.batch_reader import VIDEO_COLUMNS, MicroBatchReader, fetch, read_held_out, video_at
from pipelines.face_tracks import FaceTrack, smooth_boxes
from pipelines.landmarks import frontal_template
from pipelines.order import PADDING
from pipelines.quarantine import Reason, SampleError
from pipelines.sample import SampleConfig
from pipelines.storage import AccessDenied, Storage, content_digest
from tests.pipelines.face_samples import track
from tests.pipelines.stream_corpus import FRAMES, SAMPLE, FakeCatalog, grey, with_column, write_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> FakeCatalog:
    return write_corpus(tmp_path_factory.mktemp("corpus"), 8)


def reader(catalog: FakeCatalog, storage: Storage | None = None, config: SampleConfig = SAMPLE) -> MicroBatchReader:
    videos = catalog.table.select(VIDEO_COLUMNS)
    return MicroBatchReader(videos, storage or catalog.storage, config, epoch=0, fetch_threads=3)


class Remote(Storage):
    """A local folder that behaves like an object store, with chosen answers for some names."""

    def __init__(self, root: str, answers: dict[str, list[bytes | Exception]] | None = None) -> None:
        super().__init__(root)
        self.is_local = False
        self.answers = answers or {}

    def read(self, name: str) -> bytes:
        if not self.answers.get(name):
            return Storage(self.uri).read(name)
        answer = self.answers[name].pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_a_batch_keeps_the_contract_and_every_row_is_the_video_it_names(corpus):
    batch = reader(corpus).read([3, 0, 7, 5])
    check_batch(batch, PRETRAINING_BATCH)
    assert batch["sample_id_B"].tolist() == [3, 0, 7, 5]
    assert np.all(np.abs(batch["clip_BTHWC"].mean(axis=(1, 2, 3, 4)) - [grey(i) for i in (3, 0, 7, 5)]) < 3)
    assert batch["rejected_B"].tolist() == [""] * 4


def test_padding_rows_are_black_and_carry_valid_masks(corpus):
    batch = reader(corpus).read([PADDING, 1, PADDING])
    check_batch(batch, PRETRAINING_BATCH)
    assert batch["sample_id_B"].tolist() == [-1, 1, -1] and batch["rejected_B"].tolist() == [""] * 3
    assert not batch["clip_BTHWC"][[0, 2]].any() and batch["clip_BTHWC"][1].any()
    assert np.all(np.diff(batch["visible_BRV"], axis=2) > 0)


@pytest.mark.parametrize("remote", [False, True])
def test_unusable_rows_stay_empty_and_say_why_while_the_others_are_as_ever(corpus, tmp_path, remote):
    root = Path(corpus.storage.uri)
    contents = {0: b"", 1: b"<html>no such video</html>", 2: (root / "2.mp4").read_bytes()[:700]}
    for sample_id, content in contents.items():
        (tmp_path / f"bad{sample_id}.mp4").write_bytes(content)
    for sample_id in range(8):
        (tmp_path / f"{sample_id}.mp4").write_bytes((root / f"{sample_id}.mp4").read_bytes())
    bad = with_column(corpus, "uri", {i: f"bad{i}.mp4" for i in (0, 1, 2)} | {3: "gone.mp4"})
    bad = with_column(bad, "size", {i: len(content) for i, content in contents.items() if i < 2} | {4: 10})
    bad = with_column(bad, "digest", {0: "", 1: "", 6: content_digest(b"other bytes")})
    storage = Remote(str(tmp_path)) if remote else Storage(tmp_path)

    batch = reader(bad, storage).read([5, 0, 1, 2, 3, 4, 6, 7])

    check_batch(batch, PRETRAINING_BATCH)
    assert batch["sample_id_B"].tolist() == [5, 0, 1, 2, 3, 4, 6, 7]
    found = [json.loads(text) if text else None for text in batch["rejected_B"]]
    reasons = [each and each["reason"] for each in found]
    assert reasons == [None, "empty", "not_media", "short_read", "missing", "changed", "changed", None]
    assert found[4]["uri"] == "gone.mp4" and found[4]["detail"]
    assert not batch["clip_BTHWC"][1:7].any()
    good = reader(corpus).read([5, 0, 1, 2, 3, 4, 6, 7])
    assert np.array_equal(batch["visible_BRV"], good["visible_BRV"])
    assert np.array_equal(batch["clip_BTHWC"][[0, 7]], good["clip_BTHWC"][[0, 7]])


def test_remote_videos_are_fetched_in_the_background_and_come_back_in_order(corpus):
    local, remote = reader(corpus), reader(corpus, Remote(corpus.storage.uri))
    order = [6, 1, 4, 0, 3, 2, 7, 5]
    for name, array in local.read(order).items():
        assert np.array_equal(array, remote.read(order)[name])


def test_a_short_read_is_repeated_once(corpus):
    video = video_at(corpus.table.select(VIDEO_COLUMNS), 0)
    whole = corpus.storage.read("0.mp4")
    assert fetch(Remote(corpus.storage.uri, {"0.mp4": [whole[:9]]}), video) == whole
    with pytest.raises(SampleError) as caught:
        fetch(Remote(corpus.storage.uri, {"0.mp4": [whole[:9], whole[:9]]}), video)
    assert caught.value.reason is Reason.short_read


def test_denied_access_stops_the_run_instead_of_quarantining(corpus):
    denied = Remote(corpus.storage.uri, {"2.mp4": [AccessDenied("2.mp4")]})
    with pytest.raises(AccessDenied):
        reader(corpus, denied).read([1, 2, 3])


def test_where_crops_follow_the_face_a_row_without_one_stays_empty_and_the_others_are_read(corpus):
    class Faces:
        def tracks(self, uri: str) -> list[FaceTrack]:
            return [] if uri == "2.mp4" else [replace(track(), landmarks_T682=points_T682, box_T4=box_T4)]

    points_T682 = np.repeat(frontal_template(40)[None], FRAMES, axis=0) + 4
    box_T4 = smooth_boxes(points_T682)
    videos, config = corpus.table.select(VIDEO_COLUMNS), replace(SAMPLE, crop=AlignConfig(margin=1.0, size=36))
    known = {"epoch": 0, "fetch_threads": 1, "annotations": Faces()}
    batch = MicroBatchReader(videos, corpus.storage, config, **known).read([1, 2, 3])
    check_batch(batch, PRETRAINING_BATCH)
    assert [text and json.loads(text)["reason"] for text in batch["rejected_B"]] == ["", "no_face", ""]
    level_B = batch["clip_BTHWC"].mean(axis=(1, 2, 3, 4))
    assert np.all(np.abs(level_B - [grey(1), 0, grey(3)]) < 3)
    with pytest.raises(ValueError, match=r"2\.mp4 cannot be used: no_face"):
        read_held_out(videos, corpus.storage, config, positions_B=[1, 2], annotations=Faces())
    with pytest.raises(ValueError, match="crops and masks that follow the face need the annotations"):
        reader(corpus, config=config)


def test_the_held_out_batch_is_always_the_same_and_never_skips(corpus):
    videos = corpus.table.select(VIDEO_COLUMNS)
    first, again = (read_held_out(videos, corpus.storage, SAMPLE, positions_B=[4, 2]) for _ in range(2))
    check_batch(first, PRETRAINING_BATCH)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    gone = with_column(corpus, "uri", {2: "gone.mp4"}).table.select(VIDEO_COLUMNS)
    with pytest.raises(ValueError, match=r"gone\.mp4 cannot be used: missing"):
        read_held_out(gone, corpus.storage, SAMPLE, positions_B=[4, 2])
