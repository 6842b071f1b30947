"""Clips of a user's own videos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.parts.user_clips import read_clip
from pipelines.clips import ClipConfig
from pipelines.quarantine import SampleError
from pipelines.transforms import CropConfig
from tests.jobs.tiny import moving_frames, write_video

CLIP = ClipConfig(frames=4, stride=2)


def folder_of_frames(folder: Path, count: int, height: int, width: int) -> np.ndarray:
    frames = moving_frames(count, height, width)
    folder.mkdir()
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"frame_{index}.png")
    (folder / "notes.txt").write_text("no frame")
    return frames


def test_the_middle_clip_of_a_folder_is_read_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    frames = folder_of_frames(tmp_path / "f", 12, 64, 64)
    clip = read_clip(tmp_path / "f", clip=CLIP, crop=CropConfig(window=None, size=64))
    np.testing.assert_array_equal(clip, frames[[2, 4, 6, 8]])


def test_frames_of_the_corpus_are_cut_by_the_run_s_window(tmp_path: Path) -> None:
    frames = folder_of_frames(tmp_path / "f", 7, 224, 224)
    clip = read_clip(tmp_path / "f", clip=CLIP, crop=CropConfig())
    np.testing.assert_array_equal(clip, frames[::2, 0:160, 32:192])


@pytest.mark.parametrize(("height", "width"), [(160, 240), (240, 160)])
def test_frames_of_any_other_size_are_cut_to_their_centred_square(tmp_path: Path, height: int, width: int) -> None:
    frames = folder_of_frames(tmp_path / "f", 7, height, width)
    clip = read_clip(tmp_path / "f", clip=CLIP, crop=CropConfig())
    top, left = (height - 160) // 2, (width - 160) // 2
    np.testing.assert_array_equal(clip, frames[::2, top : top + 160, left : left + 160])


def test_a_video_file_gives_the_same_clip_but_for_compression(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", frames=7)
    clip = read_clip(path, clip=CLIP, crop=CropConfig())
    assert np.abs(clip.astype(int) - moving_frames(7)[::2, 0:160, 32:192]).mean() < 3


def test_a_short_video_is_refused_even_if_training_padded_it(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", frames=6)
    with pytest.raises(SampleError, match="too_short: 6 frames, a clip spans 7"):
        read_clip(path, clip=ClipConfig(frames=4, stride=2, short="pad_last"), crop=CropConfig())


def test_an_image_is_a_clip_of_one_frame_upright_and_cut_to_its_centred_square(tmp_path: Path) -> None:
    (frame,) = moving_frames(1, 64, 96)
    Image.fromarray(frame).save(tmp_path / "wide.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # shown turned right by a quarter
    Image.fromarray(np.rot90(frame)).save(tmp_path / "turned.png", exif=turned)
    crop = CropConfig(window=None, size=64)
    for name in ("wide.png", "turned.png"):
        clip = read_clip(tmp_path / name, clip=ClipConfig(frames=1, stride=1), crop=crop)
        np.testing.assert_array_equal(clip, frame[None, :, 16:80])


def test_an_image_is_no_clip_of_several_frames_and_a_broken_one_is_told(tmp_path: Path) -> None:
    Image.fromarray(moving_frames(1, 64, 64)[0]).save(tmp_path / "a.png")
    with pytest.raises(SampleError, match="single_frame: an image; the model draws clips of 4 frames: give videos"):
        read_clip(tmp_path / "a.png", clip=CLIP, crop=CropConfig())
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    with pytest.raises(SampleError, match="decode"):
        read_clip(tmp_path / "b.png", clip=ClipConfig(frames=1, stride=1), crop=CropConfig())


def test_what_is_not_there_or_holds_no_image_is_said(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="missing"):
        read_clip(tmp_path / "none.mp4", clip=CLIP, crop=CropConfig())
    (tmp_path / "empty").mkdir()
    with pytest.raises(SampleError, match="empty: the folder holds no image"):
        read_clip(tmp_path / "empty", clip=CLIP, crop=CropConfig())
