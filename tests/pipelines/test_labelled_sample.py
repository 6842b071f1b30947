"""One labelled sample: the same frames augmented several times, and test clips with nothing random."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.tokens import ClipGeometry
from pipelines import labelled_sample
from pipelines.alignment import AlignConfig, clip_landmarks
from pipelines.augmentation import AugmentationConfig
from pipelines.clips import ClipConfig, frame_indices
from pipelines.face_parts import FacePartsConfig, part_view
from pipelines.frame_folder import FrameFolder
from pipelines.labelled_sample import LabelledSampleConfig, read_labelled_sample, read_test_clips
from pipelines.quarantine import Reason, SampleError
from pipelines.randomness import Draw, generator
from pipelines.sample import Video
from pipelines.storage import Storage
from pipelines.transforms import Box, Crop, CropConfig
from pipelines.video import encode_h264, read_frames
from tests.pipelines.media import moving_square, video
from tests.pipelines.moving_face import FRAMES, dots, face_track, face_video

PLAIN = AugmentationConfig(rand_augment=None, area=(1.0, 1.0), aspect=(1.0, 1.0), flip=0.0)
CONFIG = LabelledSampleConfig(
    clip=ClipConfig(frames=4, stride=2),
    crop=CropConfig(window=None, size=32),
    geometry=ClipGeometry(frames=4, height=32, width=32),
    repeats=3,
)
FOLLOWING = replace(
    CONFIG,
    crop=AlignConfig(size=96, flip=False),
    augmentation=PLAIN,
    geometry=ClipGeometry(frames=4, height=96, width=96),
)


def of(data: bytes, *, frames: int, sample_id: int = 7) -> Video:
    return Video(sample_id, "a.mp4", len(data), "", frames, 25.0)


def read(config: LabelledSampleConfig, data: bytes, about: Video, *, epoch: int = 0, track=None) -> np.ndarray:
    out_RTHWC = np.full((config.repeats, *config.clip_shape), 7, np.uint8)
    read_labelled_sample(about, data, config, epoch=epoch, out_RTHWC=out_RTHWC, track=track)
    return out_RTHWC


def landscape() -> bytes:
    """Grey, but for a red left and a blue right third."""
    clip_THWC = np.full((12, 64, 192, 3), 120, np.uint8)
    clip_THWC[:, :, :64], clip_THWC[:, :, 128:] = (200, 0, 0), (0, 0, 200)
    file = io.BytesIO()
    encode_h264(clip_THWC, file, fps=25.0)
    return file.getvalue()


def test_a_sample_is_a_pure_function_of_seed_epoch_sample_and_repeat() -> None:
    data = video()
    about = of(data, frames=40)
    first = read(CONFIG, data, about, epoch=1)
    assert np.array_equal(first, read(CONFIG, data, about, epoch=1))
    assert np.array_equal(first[:2], read(replace(CONFIG, repeats=2), data, about, epoch=1))
    assert len({clip_THWC.tobytes() for clip_THWC in first}) == 3
    others = [
        read(CONFIG, data, about, epoch=2),
        read(replace(CONFIG, seed=1), data, about, epoch=1),
        read(CONFIG, data, about._replace(sample_id=8), epoch=1),
    ]
    assert not any(np.array_equal(first, other) for other in others)


def test_all_repeats_show_the_frames_that_pre_training_would_draw() -> None:
    config, data = replace(CONFIG, augmentation=PLAIN), video(40, height=32, width=32)
    found = read(config, data, of(data, frames=40), epoch=3)
    rng = generator(Draw.CLIP, seed=0, epoch=3, sample_id=7)
    expected_THWC = read_frames(data, frame_indices(40, 25.0, config.clip, rng))
    assert np.array_equal(found, np.stack([expected_THWC] * 3))


@pytest.mark.parametrize("rand_augment", [None, "rand-p0.0"])
def test_training_crops_are_taken_from_the_whole_frame_and_test_clips_show_its_centre(rand_augment: str | None) -> None:
    data = landscape()
    augmentation = AugmentationConfig(rand_augment=rand_augment, area=(0.1, 0.1), aspect=(1.0, 1.0), flip=0.0)
    config = replace(CONFIG, augmentation=augmentation, repeats=40)
    means_R3 = read(config, data, of(data, frames=12)).mean((1, 2, 3))
    assert (means_R3[:, 0] > means_R3[:, 2] + 100).any() and (means_R3[:, 2] > means_R3[:, 0] + 100).any()
    test = read_test_clips(of(data, frames=12), data, config, clips=2)
    assert np.all(np.abs(test[..., 2:-2, :].astype(int) - 120) < 12)


def test_training_crops_stay_within_a_window_and_test_clips_show_it() -> None:
    data, crop = landscape(), CropConfig(window=(0, 130, 60, 60), frame_size=(64, 192), size=32)
    config = replace(CONFIG, crop=crop, repeats=30, augmentation=AugmentationConfig(rand_augment="rand-p0.0"))
    about = of(data, frames=12)
    for clips in (read(config, data, about), read(replace(config, augmentation=PLAIN), data, about)):
        assert (clips[..., 0] < 60).mean() > 0.8, "red and grey lie outside"
    assert read_test_clips(about, data, config, clips=1)[..., 0].max() < 20
    with pytest.raises(SampleError) as caught:
        read(replace(config, crop=replace(crop, frame_size=(64, 200))), data, about)
    assert caught.value.reason is Reason.format


def test_crops_that_follow_the_face_keep_it_in_place_in_training_and_test() -> None:
    data, track = face_video(), face_track()
    about = of(data, frames=FRAMES)
    clips = [*read(FOLLOWING, data, about, track=track), *read_test_clips(about, data, FOLLOWING, clips=3, track=track)]
    places = np.concatenate([dots(clip_THWC) for clip_THWC in clips])
    assert np.abs(places - places.mean(0)).max() < 8, "in the frames it moves by more than its own width"
    with pytest.raises(SampleError) as caught:
        read(FOLLOWING, data, about)
    assert caught.value.reason is Reason.no_face
    with pytest.raises(SampleError):
        read_test_clips(about, data, FOLLOWING, clips=2)


def test_random_crops_of_an_aligned_face_may_be_those_of_maura() -> None:
    """A crop of one size, some pixels smaller than the aligned face, that is not resized."""
    share = (96 / 104) ** 2
    maura = replace(PLAIN, area=(share, share), flip=0.5)
    config = replace(FOLLOWING, crop=AlignConfig("similarity", size=104, flip=False), augmentation=maura, repeats=8)
    data = face_video()
    places = [dots(clip_THWC).mean(0) for clip_THWC in read(config, data, of(data, frames=FRAMES), track=face_track())]
    apart = [np.linalg.norm(place_22[0] - place_22[1]) for place_22 in places]
    assert np.ptp(apart) < 0.5 and np.ptp(np.abs(np.array(places)[:, 0, 0] - 48)) > 1


def test_test_clips_are_distinct_and_their_frames_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data, asked = video(40), []

    def counted(data, indices, **options):
        asked.append(list(indices))
        return read_frames(data, indices, **options)

    monkeypatch.setattr(labelled_sample, "read_frames", counted)
    config = replace(CONFIG, clip=ClipConfig(frames=4, stride=8))
    two = read_test_clips(of(data, frames=40), data, config, clips=2)
    assert two.shape == (2, 4, 32, 32, 3) and asked == [[0, 8, 16, 24, 32]]
    assert np.array_equal(two[0, 1:], two[1, :3]) and not np.array_equal(two[0], two[1])
    many = read_test_clips(of(data, frames=40), data, config, clips=9)
    assert np.array_equal(many, two)


def test_a_folder_of_images_is_read_like_a_file(tmp_path: Path) -> None:
    frames_THWC = moving_square(12, height=32, width=32)
    for index, frame_HWC in enumerate(frames_THWC):
        Image.fromarray(frame_HWC).save(tmp_path / f"{index:03}.png")
    folder = FrameFolder(Storage(tmp_path), tuple(f"{index:03}.png" for index in range(12)))
    about = of(b"", frames=12)
    first, last = read_test_clips(about, folder, CONFIG, clips=2)
    assert np.array_equal(first, frames_THWC[0:8:2]) and np.array_equal(last, frames_THWC[4:12:2])
    (clip_THWC,) = read(replace(CONFIG, augmentation=PLAIN, repeats=1), folder, about)
    assert any(np.array_equal(clip_THWC, frames_THWC[start : start + 8 : 2]) for start in range(5))


def test_a_short_video_has_one_test_clip_and_it_is_the_same_for_every_seed() -> None:
    data = video(5)
    found = read_test_clips(of(data, frames=5), data, CONFIG, clips=4)
    assert found.shape == (1, 4, 32, 32, 3) and np.array_equal(found[0, 2], found[0, 3])
    other = replace(CONFIG, seed=5, augmentation=PLAIN)
    assert np.array_equal(found, read_test_clips(of(data, frames=5), data, other, clips=4))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"repeats": 0}, "repeats=0"),
        ({"seed": -1}, "seed=-1"),
        ({"clip": ClipConfig(frames=8)}, "clip.frames=8"),
        ({"crop": CropConfig(window=None, size=48)}, "crop.size=48"),
        ({"crop": CropConfig(window=None, size=32, flip=True)}, "augmentation.flip"),
        ({"crop": CropConfig(window=None, size=32, scales=(1.0,))}, "augmentation.area"),
        ({"crop": AlignConfig(size=48)}, "augmentation.flip"),
    ],
)
def test_a_config_that_cannot_work_or_would_have_no_effect_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **fields)


@pytest.mark.parametrize("parts", [FacePartsConfig(("eye", "mouth")), FacePartsConfig(("nose",), "canvas")])
def test_parts_of_the_face_stand_in_its_place_in_training_and_in_test(parts: FacePartsConfig) -> None:
    config = replace(
        CONFIG, parts=parts, augmentation=PLAIN, geometry=ClipGeometry(4, 64, 64), crop=CropConfig(None, size=64)
    )
    data = video(12, width=64)
    about = of(data, frames=12)
    training_RTHWC = read(replace(config, repeats=1), data, about)
    indices_T = frame_indices(12, 25.0, config.clip, generator(Draw.CLIP, seed=0, epoch=0, sample_id=7))
    shown_THWC = np.stack([part_view(frame, parts) for frame in read_frames(data, indices_T)])
    assert np.array_equal(training_RTHWC[0], shown_THWC)
    test_VTHWC = read_test_clips(about, data, config, clips=1)
    start = (12 - 8) // 2
    central_THWC = np.stack([part_view(frame, parts) for frame in read_frames(data, np.arange(start, start + 8, 2))])
    assert np.array_equal(test_VTHWC[0], central_THWC)


def test_parts_of_a_face_that_is_followed_are_found_by_its_landmarks() -> None:
    parts = FacePartsConfig(("eye",), source="landmarks")
    config, about = replace(FOLLOWING, repeats=1), of(face_video(), frames=FRAMES)
    face, eyes = (
        read(one, face_video(), about, track=face_track())[0] for one in (config, replace(config, parts=parts))
    )
    whole = Crop(Box(0, 0, 96, 96), False)
    indices_T = frame_indices(FRAMES, 25.0, config.clip, generator(Draw.CLIP, seed=0, epoch=0, sample_id=7))
    landmarks_T682 = clip_landmarks(face_track(), indices_T, whole, config.crop)
    expected = [part_view(frame, parts, points) for frame, points in zip(face, landmarks_T682, strict=True)]
    assert np.array_equal(eyes, np.stack(expected)) and not np.array_equal(eyes, face)


@pytest.mark.parametrize(
    ("config", "parts"),
    [(CONFIG, FacePartsConfig(source="landmarks")), (FOLLOWING, FacePartsConfig())],
)
def test_fractions_and_landmarks_are_refused_where_they_mean_nothing(config, parts) -> None:
    with pytest.raises(ValueError, match="does not go with such a crop"):
        replace(config, parts=parts)
