"""One sample: the same wherever, whenever and in whatever order it is read."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from models.tokens import ClipGeometry
from pipelines.alignment import AlignConfig
from pipelines.au_masks import AUMaskConfig
from pipelines.clips import ClipConfig
from pipelines.face_tracks import FaceTrack
from pipelines.landmarks import frontal_template
from pipelines.masks import MaskConfig
from pipelines.order import PADDING
from pipelines.quarantine import Reason, SampleError
from pipelines.sample import SampleConfig, Video, draw_masks, read_held_out_sample, read_sample
from pipelines.transforms import CropConfig
from tests.pipelines import media, moving_face
from tests.pipelines.stream_corpus import SAMPLE

FRAMES = 40
CONFIG = replace(SAMPLE, clips_per_video=3)
FOLLOWING = SampleConfig(
    clip=ClipConfig(frames=4, stride=5),
    crop=AlignConfig(size=144),
    mask=AUMaskConfig(ratio=0.8, dilation="none"),
    geometry=ClipGeometry(frames=4, height=128, width=128),
)
Row = tuple[np.ndarray, np.ndarray]


@cache
def encoded(sample_id: int) -> bytes:
    """Made once: the encoder does not promise the same bytes twice."""
    return media.video(FRAMES, seed=sample_id)


def read(
    sample_id: int,
    data: bytes | None = None,
    *,
    epoch: int = 0,
    config: SampleConfig = CONFIG,
    held_out: bool = False,
) -> Row:
    clip_THWC, visible_RV = np.empty(config.clip_shape, np.uint8), np.empty(config.visible_shape, np.int32)
    video = Video(sample_id, f"{sample_id}.mp4", 0, "", FRAMES, 25.0)
    data = data or encoded(sample_id)
    if held_out:
        read_held_out_sample(video, data, config, out_THWC=clip_THWC, out_RV=visible_RV)
    else:
        read_sample(video, data, config, epoch=epoch, out_THWC=clip_THWC, out_RV=visible_RV)
    return clip_THWC, visible_RV


def same(one: Row, other: Row) -> tuple[bool, bool]:
    """Whether (the clips, the masks) are equal."""
    return np.array_equal(one[0], other[0]), np.array_equal(one[1], other[1])


def test_a_sample_does_not_depend_on_what_was_read_before_it():
    forward = {sample_id: read(sample_id) for sample_id in range(4)}
    for sample_id in reversed(range(4)):
        assert same(read(sample_id), forward[sample_id]) == (True, True)


def test_a_sample_is_the_same_in_another_process():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert same(pool.apply(read, (2, encoded(2))), read(2)) == (True, True)


def test_epochs_seeds_and_samples_see_other_clips_and_masks():
    first = read(1)
    for other in (read(1, epoch=1), read(1, config=replace(CONFIG, seed=1)), read(2)):
        assert same(first, other) == (False, False)


def test_every_repeat_of_a_decoded_clip_has_a_mask_of_its_own():
    config = replace(CONFIG, mask=MaskConfig("random", 0.5), clips_per_video=4)
    _, visible_RV = read(0, config=config)
    assert len({tuple(visible_V) for visible_V in visible_RV}) > 1
    assert np.all(np.diff(visible_RV, axis=1) > 0)


def test_more_masks_and_another_mask_policy_leave_the_clip_and_the_first_masks_alone():
    one, three = read(3, config=replace(CONFIG, clips_per_video=1)), read(3)
    assert np.array_equal(one[0], three[0]) and np.array_equal(one[1], three[1][:1])
    assert np.array_equal(read(3, config=replace(CONFIG, mask=MaskConfig("random", 0.25)))[0], three[0])


def test_another_crop_or_clip_leaves_the_masks_alone():
    flipped = replace(CONFIG, crop=CropConfig(window=None, size=32, scales=(1.0, 0.5), flip=True))
    assert same(read(5, config=flipped), read(5)) == (False, True)


def test_the_held_out_row_depends_on_the_sample_alone():
    first = read(1, held_out=True)
    other_seed = replace(CONFIG, seed=9, crop=replace(CONFIG.crop, flip=True))
    assert same(read(1, config=other_seed, held_out=True), first) == (True, True)
    assert same(read(2, held_out=True), first) == (False, False)


def test_an_unusable_video_raises_after_its_masks_were_written():
    visible_RV = np.full(CONFIG.visible_shape, -1, np.int32)
    clip_THWC = np.empty(CONFIG.clip_shape, np.uint8)
    video = Video(0, "0.mp4", 0, "", FRAMES, 25.0)
    with pytest.raises(SampleError) as caught:
        read_sample(video, media.ERROR_PAGE, CONFIG, epoch=0, out_THWC=clip_THWC, out_RV=visible_RV)
    assert caught.value.reason is Reason.not_media
    assert np.array_equal(visible_RV, read(0)[1])


def test_padding_rows_get_valid_masks_that_are_always_the_same():
    one, other = (np.empty(CONFIG.visible_shape, np.int32) for _ in range(2))
    draw_masks(PADDING, CONFIG, epoch=0, out_RV=one)
    draw_masks(PADDING, replace(CONFIG, seed=4), epoch=7, out_RV=other)
    assert np.array_equal(one, other) and np.all(np.diff(one, axis=1) > 0) and one.max() < CONFIG.geometry.num_tokens


def follow(sample_id: int, config: SampleConfig = FOLLOWING, *, track: FaceTrack | None, held_out: bool = False) -> Row:
    """The row of the face that crosses its video."""
    clip_THWC, visible_RV = np.empty(config.clip_shape, np.uint8), np.full(config.visible_shape, -1, np.int32)
    video = Video(sample_id, "face.mp4", 0, "", moving_face.FRAMES, 25.0)
    where = {"out_THWC": clip_THWC, "out_RV": visible_RV, "track": track}
    if held_out:
        read_held_out_sample(video, moving_face.face_video(), config, **where)
    else:
        read_sample(video, moving_face.face_video(), config, epoch=0, **where)
    return clip_THWC, visible_RV


@pytest.mark.parametrize("mode", ["box", "similarity"])
def test_a_face_that_crosses_the_frame_stays_at_one_place_in_the_middle(mode):
    aligned = replace(FOLLOWING, crop=AlignConfig(mode, size=144))
    track = moving_face.face_track()
    moved_T2 = track.landmarks_T682[:, moving_face.RED]
    assert np.linalg.norm(moved_T2[15] - moved_T2[0]) > moving_face.FACE
    for sample_id in range(4):
        seen_T22 = moving_face.dots(follow(sample_id, aligned, track=track)[0])
        assert np.abs(seen_T22 - seen_T22.mean(0)).max() < 5
    eyes_22 = moving_face.dots(follow(0, aligned, track=track, held_out=True)[0]).mean(0)
    upright_22 = frontal_template(144)[[moving_face.RED, moving_face.GREEN]] - 8
    apart_2 = eyes_22[1] - eyes_22[0]
    assert np.abs(eyes_22.mean(0) - upright_22.mean(0)).max() < 12
    tilt = np.degrees(np.arctan2(apart_2[1], apart_2[0]))
    assert abs(tilt - (moving_face.TILT if mode == "box" else 0)) < 5


def test_clips_are_drawn_from_the_frames_between_the_first_and_the_last_that_show_the_face():
    whole, shown = moving_face.face_track(), slice(9, 19)
    valid_T = np.zeros(moving_face.FRAMES, bool)
    valid_T[shown] = True
    box_T4 = np.where(valid_T[:, None], whole.box_T4, np.nan)
    landmarks_T682 = np.where(valid_T[:, None, None], whole.landmarks_T682, np.nan).astype(np.float32)
    track = replace(whole, valid_T=valid_T, box_T4=box_T4, landmarks_T682=landmarks_T682)
    config = replace(FOLLOWING, clip=ClipConfig(frames=4, stride=2))
    for sample_id in range(12):
        seen_T22 = moving_face.dots(follow(sample_id, config, track=track, held_out=sample_id == 0)[0])
        # A frame later or earlier the face would be a tenth of its width away.
        assert np.abs(seen_T22 - seen_T22.mean(0)).max() < 3


def test_masks_that_follow_the_face_show_its_lids_in_an_aligned_crop_mirrored_or_not():
    flips, grid = set(), FOLLOWING.geometry.grid
    for sample_id in range(12):
        clip_THWC, (visible_V,) = follow(sample_id, track=moving_face.face_track())
        seen_T22 = moving_face.dots(clip_THWC)
        for t, place_22 in enumerate(seen_T22):
            for x, y in (place_22 // FOLLOWING.geometry.patch).astype(int):
                assert np.ravel_multi_index((t // 2, y, x), grid) in visible_V
        flips.add(bool(seen_T22[0, 0, 0] > seen_T22[0, 1, 0]))
    assert flips == {False, True}


def test_a_crop_that_follows_the_face_leaves_plain_masks_alone_and_is_the_same_for_every_seed_where_held_out():
    plain = replace(FOLLOWING, mask=MaskConfig("tube", 0.5))
    square = replace(plain, crop=CropConfig(window=None, size=128, scales=(1.0,)))
    track = moving_face.face_track()
    assert same(follow(3, plain, track=track), follow(3, square, track=None)) == (False, True)
    held_out = [follow(3, replace(FOLLOWING, seed=seed), track=track, held_out=True) for seed in (0, 9)]
    assert same(*held_out) == (True, True)


def test_a_video_without_a_face_to_follow_is_refused_after_its_masks_were_written():
    for held_out in (False, True):
        with pytest.raises(SampleError) as caught:
            follow(0, track=None, held_out=held_out)
        assert caught.value.reason is Reason.no_face


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"geometry": replace(SAMPLE.geometry, frames=8)}, "clip.frames"),
        ({"crop": replace(SAMPLE.crop, size=48)}, "crop.size"),
        ({"crop": AlignConfig(size=24)}, "32x32 must be a square of at most crop.size=24"),
        ({"crop": AlignConfig(size=36), "region": (2, 1, 1)}, "region=.* has no effect on a plain mask"),
        ({"clips_per_video": 0}, "clips_per_video"),
        ({"seed": -1}, "seed"),
        ({"mask": MaskConfig("frame", 0.4)}, "masks nothing"),
        ({"mask": MaskConfig("region_tube", 0.5, (2, 3, 2))}, "does not tile"),
    ],
)
def test_a_config_that_cannot_work_is_refused(fields, word):
    with pytest.raises(ValueError, match=word):
        replace(SAMPLE, **fields)
