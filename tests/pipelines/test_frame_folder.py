from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipelines.batch_reader import fetch
from pipelines.frame_folder import FrameFolder, open_folder, probe_folder
from pipelines.quarantine import Reason, SampleError
from pipelines.sample import Video
from pipelines.storage import Storage
from pipelines.video import read_frames
from tests.pipelines import media

FRAMES = media.moving_square(5)


def png(image_HWC: np.ndarray) -> bytes:
    return cv2.imencode(".png", image_HWC[..., ::-1])[1].tobytes()


@pytest.fixture(params=["local", "remote"])
def storage(request: pytest.FixtureRequest, tmp_path: object) -> Storage:
    place = Storage(str(tmp_path)) if request.param == "local" else Storage(request.getfixturevalue("s3_bucket"))
    for index, image_HWC in enumerate(FRAMES):
        place.write(f"clip/a/{index:03d}.png", png(image_HWC))
    place.write("clip/a/notes.txt", b"not a frame")
    place.write("clip/a/deeper/000.png", png(FRAMES[0]))
    return place


def video(storage: Storage, **changes: object) -> Video:
    size = sum(storage.size(f"clip/a/{index:03d}.png") for index in range(5))
    return Video(0, "clip/a", size, "", 5, 25.0, "frames")._replace(**changes)


def test_a_folder_of_images_is_read_like_a_video(storage: Storage) -> None:
    found = fetch(storage, video(storage))
    np.testing.assert_array_equal(read_frames(found, [3, 0, 3], expect_frames=5), FRAMES[[3, 0, 3]])


def test_what_the_images_are_is_found_by_decoding_them(storage: Storage) -> None:
    info, digest = probe_folder(storage, "clip/a")
    assert (info.frames, info.fps, info.height, info.width, info.seconds) == (5, 25.0, *FRAMES.shape[1:3], 0.2)
    storage.write("clip/a/002.png", png(FRAMES[0]))
    assert probe_folder(storage, "clip/a")[1] != digest


@pytest.mark.parametrize(
    ("names", "reason"),
    [(["001.png"], Reason.decode), (["gone.png"], Reason.missing), (["000.png", "003.png"], Reason.format)],
)
def test_a_bad_image_is_refused_with_its_reason(storage: Storage, names: list[str], reason: Reason) -> None:
    storage.write("clip/a/001.png", b"no image")
    storage.write("clip/a/003.png", png(FRAMES[3][:8]))
    folder = FrameFolder(storage, tuple(f"clip/a/{name}" for name in names))
    with pytest.raises(SampleError) as refusal:
        folder.read(range(len(names)))
    assert refusal.value.reason is reason


def test_a_frame_beyond_the_last_is_refused(storage: Storage) -> None:
    with pytest.raises(SampleError, match="frame 5 of a folder of 5 images"):
        fetch(storage, video(storage)).read([0, 5])


def test_a_folder_that_is_not_the_one_of_the_catalog_is_refused(storage: Storage) -> None:
    known = video(storage)
    for changed, reason in (
        (known._replace(frames=6), Reason.short_read),
        (known._replace(size=known.size + 1), Reason.changed),
        (known._replace(uri="clip/b"), Reason.missing),
    ):
        with pytest.raises(SampleError) as refusal:
            open_folder(storage, changed.uri, expect_frames=changed.frames, expect_bytes=changed.size)
        assert refusal.value.reason is reason


def test_a_single_image_is_no_video(storage: Storage) -> None:
    with pytest.raises(SampleError) as refusal:
        probe_folder(storage, "clip/a/deeper")
    assert refusal.value.reason is Reason.single_frame
