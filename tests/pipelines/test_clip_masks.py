"""Masks of single videos that follow the face, on rendered faces whose landmarks and action units are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pytest

from models.tokens import PRETRAINING_BATCH, ClipGeometry, check_batch, region_of_tokens
from pipelines.action_units import ACTION_UNITS
from pipelines.au_masks import AUMaskConfig, Fallback, num_visible
from pipelines.au_rules import rule_points
from pipelines.batch_reader import VIDEO_COLUMNS, MicroBatchReader, main_face, read_held_out
from pipelines.clip_masks import active_in_span, clip_face, draw_clip_masks, no_face
from pipelines.clips import ClipConfig, frame_indices
from pipelines.face_tracks import FaceTrack
from pipelines.masks import MaskConfig
from pipelines.order import PADDING
from pipelines.probe import probe
from pipelines.randomness import Draw, generator
from pipelines.sample import SampleConfig, Video
from pipelines.storage import Storage, content_digest
from pipelines.synthetic.config import SyntheticConfig
from pipelines.synthetic.corpus import render_corpus
from pipelines.transforms import CropConfig, draw_crop
from pipelines.video_stream import VideoStreamConfig, stream_of
from tests.pipelines.stream_corpus import FakeCatalog
from tests.pipelines.take_corpus import TrueAnnotations

CORPUS = SyntheticConfig(
    speakers_dev=2, speakers_test=0, clips_per_speaker=2, min_seconds=0.6, max_seconds=0.8, size=112
)
SAMPLE = SampleConfig(
    clip=ClipConfig(frames=4, stride=2),
    crop=CropConfig(window=None, size=96, scales=(1.0, 0.875), flip=True),
    mask=AUMaskConfig(ratio=0.5, dilation="none"),
    geometry=ClipGeometry(frames=4, height=96, width=96),
)
REGION = (2, 3, 6)


@dataclass
class Corpus:
    videos: pa.Table
    storage: Storage

    def annotations(self, **fields: object) -> TrueAnnotations:
        return TrueAnnotations(self.storage, "of-the-fake", **fields)

    def reader(self, config: SampleConfig = SAMPLE, *, epoch: int = 0, **fields: object) -> MicroBatchReader:
        annotations = self.annotations(**fields)
        return MicroBatchReader(
            self.videos, self.storage, config, epoch=epoch, fetch_threads=1, annotations=annotations
        )

    @property
    def uris(self) -> list[str]:
        return self.videos["uri"].to_pylist()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    storage = Storage(tmp_path_factory.mktemp("faces"))
    render_corpus(storage, CORPUS, show_progress=False)
    videos = []
    for name in sorted(item.name for item in storage.list() if item.name.endswith(".mp4")):
        data = storage.read(name)
        info = probe(data)
        videos.append(Video(len(videos), name, len(data), content_digest(data), info.frames, info.fps))
    table = pa.Table.from_pylist([video._asdict() for video in videos])
    return Corpus(table.select(VIDEO_COLUMNS), storage)


def samples(corpus: Corpus, epochs: int) -> Iterator[tuple[np.ndarray, np.ndarray, FaceTrack, np.ndarray, bool]]:
    """Masks, frames, true face, its landmarks in the picture and whether it is mirrored, of every video and epoch.

    The landmarks are mapped here by hand: cut, stretched, and counted from the other side.
    """
    for epoch in range(epochs):
        batch = corpus.reader(replace(SAMPLE, clips_per_video=2), epoch=epoch).read(np.arange(len(corpus.uris)))
        for row in range(len(corpus.uris)):
            video = Video(*(column[row].as_py() for column in corpus.videos.columns))
            track, key = main_face(video, corpus.annotations()), {"seed": 0, "epoch": epoch, "sample_id": row}
            indices_T = frame_indices(video.frames, video.fps, SAMPLE.clip, generator(Draw.CLIP, **key))
            (top, left, height, width), flip = draw_crop(112, 112, SAMPLE.crop, generator(Draw.CROP, **key))
            points_T682 = (track.landmarks_T682[indices_T] - (left, top)) * (96 / width, 96 / height)
            points_T682[..., 0] = 96 - points_T682[..., 0] if flip else points_T682[..., 0]
            yield batch["visible_BRV"][row], indices_T, track, points_T682, flip


def cells(points_TP2: np.ndarray, geometry: ClipGeometry) -> set[int]:
    """Tokens of points that lie within the picture."""
    _, rows, columns = geometry.grid
    found = set()
    for t, points_P2 in enumerate(points_TP2):
        for x, y in points_P2 // geometry.patch:
            if 0 <= x < columns and 0 <= y < rows:
                found.add(int((t // geometry.tubelet * rows + y) * columns + x))
    return found


def test_masks_keep_the_patches_under_the_true_landmarks_after_crop_and_flip(corpus: Corpus) -> None:
    flips, kept = set(), 0
    for visible_RV, indices_T, track, points_T682, flip in samples(corpus, epochs=5):
        active_18, strongest = active_in_span(track, indices_T)
        units = [unit for unit, is_active in zip(ACTION_UNITS, active_18, strict=True) if is_active] or [strongest]
        # A unit with points apart from the landmarks has them below, also in a mirrored face.
        direction = -1 if flip else 1
        for visible_V in visible_RV.tolist():
            whole = [rule_points(points_T682 * (direction, 1), unit) * (direction, 1) for unit in units]
            assert any(cells(points_TP2, SAMPLE.geometry) <= set(visible_V) for points_TP2 in whole)
            kept += 1
        flips.add(flip)
    assert flips == {False, True} and kept == 40


def test_every_region_shows_equally_many_tokens_where_the_model_needs_it(corpus: Corpus) -> None:
    config = replace(SAMPLE, region=REGION, clips_per_video=3, mask=AUMaskConfig())
    batch = corpus.reader(config).read(np.arange(4))
    check_batch(batch, PRETRAINING_BATCH)
    region_N = region_of_tokens(config.geometry.grid, REGION)
    count = num_visible(config.geometry, config.mask, REGION)
    assert batch["visible_BRV"].shape == (4, 3, count)
    for visible_V in batch["visible_BRV"].reshape(-1, count):
        assert len(set(visible_V.tolist())) == count
        assert np.bincount(region_N[visible_V]).tolist() == [count // 2] * 2


def test_a_video_without_a_face_gets_a_plain_mask_of_the_same_count_and_keeps_its_pixels(corpus: Corpus) -> None:
    blind = corpus.reader(faceless=frozenset(corpus.uris[:2])).read(np.arange(4))
    seen = corpus.reader().read(np.arange(4))
    assert np.array_equal(blind["clip_BTHWC"], seen["clip_BTHWC"]) and not any(blind["rejected_B"])
    same = [np.array_equal(*pair) for pair in zip(blind["visible_BRV"], seen["visible_BRV"], strict=True)]
    assert same == [False, False, True, True]
    key = {"draw": Draw.MASK, "seed": 0, "epoch": 0, "sample_id": 1}
    plain_RV, (record,) = draw_clip_masks(no_face(4), SAMPLE.geometry, SAMPLE.mask, None, repeats=1, **key)
    assert np.array_equal(blind["visible_BRV"][1], plain_RV) and record.fallback is Fallback.no_landmarks


def test_held_out_masks_follow_the_face_and_are_the_same_for_every_seed(corpus: Corpus) -> None:
    known = {"annotations": corpus.annotations(), "positions_B": [2, 0]}
    one, two = (read_held_out(corpus.videos, corpus.storage, replace(SAMPLE, seed=seed), **known) for seed in (0, 9))
    check_batch(one, PRETRAINING_BATCH)
    assert all(np.array_equal(one[name], two[name]) for name in one)
    known["annotations"] = corpus.annotations(faceless=frozenset(corpus.uris))
    blind = read_held_out(corpus.videos, corpus.storage, SAMPLE, **known)
    assert np.array_equal(blind["clip_BTHWC"], one["clip_BTHWC"])
    assert not np.array_equal(blind["visible_BRV"], one["visible_BRV"])


def test_faces_are_read_by_the_uri_of_each_row_and_none_for_padding_or_missing_files(corpus: Corpus) -> None:
    asked = []

    class Watched(TrueAnnotations):
        def tracks(self, uri: str) -> list[FaceTrack]:
            asked.append(uri)
            return super().tracks(uri)

    class Holey(Storage):
        def read(self, name: str) -> bytes:
            return super().read("no/such" if name == corpus.uris[3] else name)

    storage, watched = Holey(corpus.storage.uri), Watched(corpus.storage, "of-the-fake")
    reader = MicroBatchReader(corpus.videos, storage, SAMPLE, epoch=0, fetch_threads=1, annotations=watched)
    batch = reader.read([2, PADDING, 3, 0])
    assert asked == [corpus.uris[2], corpus.uris[0]]
    assert [bool(text) for text in batch["rejected_B"]] == [False, False, True, False]
    assert all(len(set(visible_V.tolist())) == 36 for visible_V in batch["visible_BRV"][:, 0])


def test_a_damaged_video_keeps_a_valid_mask(corpus: Corpus) -> None:
    frames = corpus.videos.schema.get_field_index("frames")
    wrong = corpus.videos.set_column(frames, "frames", pa.array([n + 1 for n in corpus.videos["frames"].to_pylist()]))
    other = Corpus(wrong, corpus.storage)
    batch = other.reader().read([1])
    assert '"reason": "short_read"' in batch["rejected_B"][0] and not batch["clip_BTHWC"].any()
    assert len(set(batch["visible_BRV"][0, 0].tolist())) == 36 and batch["visible_BRV"].max() < 72


def test_activity_counts_over_the_span_of_the_clip_and_may_be_that_of_another_track(corpus: Corpus) -> None:
    own = corpus.annotations().tracks(corpus.uris[0])[0]
    score_T18 = np.zeros_like(own.score_T18)
    score_T18[3:6, ACTION_UNITS.index(12)] = 2.0
    score_T18[9:, ACTION_UNITS.index(4)] = 5.0
    track = replace(own, score_T18=score_T18)
    active_18, strongest = active_in_span(track, np.array([0, 2, 7]))
    assert np.flatnonzero(active_18).tolist() == [ACTION_UNITS.index(12)] and strongest == 12
    assert active_in_span(track, np.array([0, 2]))[1] is None
    later = np.array([0, 4, 14])
    assert clip_face(track, track.landmarks_T682[later], later).strongest == 4
    assert clip_face(own, own.landmarks_T682[later], later, activity=track).strongest == 4


def test_the_stream_is_one_of_its_annotations_too_and_refuses_those_of_other_data(corpus: Corpus) -> None:
    columns = {"split": ["train"] * 4, "status": ["ok"] * 4, "detail": [""] * 4}
    table = corpus.videos
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    catalog, config = FakeCatalog(table, corpus.storage), VideoStreamConfig(catalog="unused", sample=SAMPLE)
    stream = stream_of(catalog, config, corpus.annotations())
    assert stream.fingerprint.startswith("of-the-fake:of-the-truth:")
    with pytest.raises(ValueError, match="annotate_faces"):
        stream_of(catalog, config, TrueAnnotations(corpus.storage, "of-another"))
    with pytest.raises(ValueError, match="need the annotations"):
        stream_of(catalog, config)
    plain = replace(config, sample=replace(SAMPLE, mask=MaskConfig("tube", 0.5)))
    assert stream_of(catalog, plain).fingerprint.startswith("of-the-fake:train:")
    with pytest.raises(ValueError, match="no effect where neither crops nor masks"):
        stream_of(catalog, plain, corpus.annotations())


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"region": (2, 4, 4)}, "does not tile"),
        ({"mask": AUMaskConfig(ratio=0.01)}, "masks nothing"),
        ({"mask": MaskConfig("tube", 0.5), "region": REGION}, "region=.* has no effect on a plain mask"),
    ],
)
def test_a_config_that_cannot_work_is_refused(fields: dict, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        replace(SAMPLE, **fields)
