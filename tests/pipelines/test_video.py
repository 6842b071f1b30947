from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest

from pipelines import decoders, video
from pipelines.probe import probe
from pipelines.quarantine import Reason, SampleError
from pipelines.video import encode_h264, read_frames
from tests.pipelines import media
from tests.pipelines.test_probe import BAD

REAL_MEDIA = Path(__file__).parents[3] / "shared" / "media"
GOOD = media.video(40)
DECODERS = ("pyav", "torchcodec", "decord")


def loads(decoder: str) -> bool:
    try:
        decoders.frame_reader(decoder)
    except RuntimeError:
        return False
    return True


@pytest.fixture(params=DECODERS)
def decoder(request: pytest.FixtureRequest) -> str:
    if not loads(request.param):
        pytest.skip(f"{request.param} does not load on this machine")
    return request.param


def every_frame(data: bytes) -> np.ndarray:
    return decoders.read_in_sequence(data, list(range(probe(data).frames)))


FILES = {
    "long groups with B frames": GOOD,
    "short groups": media.video(40, gop=8, b_frames=0),
    "turned": media.rotated(GOOD),
    "index at the front": media.faststart(GOOD),
    "Matroska": media.remux(GOOD, "matroska"),
    "AVI": media.avi(),
    "variable rate": media.remux(media.video(20, b_frames=0), "mp4", times=[t * t for t in range(20)]),
    "hidden first frames": media.remux(media.video(40, b_frames=0), "mp4", times=[t - 6 for t in range(40)]),
    "two frames": media.video(2),
}


@pytest.mark.parametrize("name", FILES)
def test_every_decoder_returns_the_frames_of_the_arbiter(name: str, decoder: str) -> None:
    data = FILES[name]
    frames_THWC = every_frame(data)
    indices = list(range(len(frames_THWC) - 1, 0, -5))[::-1]
    read_THWC = read_frames(data, indices, expect_frames=len(frames_THWC), decoder=decoder)
    assert read_THWC.dtype == np.uint8
    np.testing.assert_array_equal(read_THWC, frames_THWC[indices])


@pytest.mark.parametrize("name", ["WolfgangLanger_Pexels.mp4", "single_face.mp4", "no_face.mp4", "face_noface.mov"])
def test_every_decoder_agrees_on_real_footage(name: str) -> None:
    path = REAL_MEDIA / f"pyfeat_{name}"
    if not path.exists():
        pytest.skip(f"{path.name}, real footage kept outside the project, is not on this machine")
    data = path.read_bytes()
    frames = probe(data).frames
    indices = [3, 17, 40, frames - 1]
    expected_THWC = decoders.read_in_sequence(data, indices)
    for decoder in filter(loads, DECODERS):
        for expect_frames in (frames, None):
            read_THWC = read_frames(data, indices, expect_frames=expect_frames, decoder=decoder)
            np.testing.assert_array_equal(read_THWC, expected_THWC)


def test_frames_come_in_the_order_asked_for_with_repeats(decoder: str) -> None:
    frames_THWC = every_frame(GOOD)
    indices = [5, 3, 39, 39, 0, 5]
    np.testing.assert_array_equal(read_frames(GOOD, indices, decoder=decoder), frames_THWC[indices])


def test_a_path_is_read_like_bytes(tmp_path: Path, decoder: str) -> None:
    (tmp_path / "clip.mp4").write_bytes(GOOD)
    read_THWC = read_frames(tmp_path / "clip.mp4", [1, 20], expect_frames=40, decoder=decoder)
    np.testing.assert_array_equal(read_THWC, every_frame(GOOD)[[1, 20]])
    with pytest.raises(SampleError, match="missing"):
        read_frames(tmp_path / "absent.mp4", [0], decoder=decoder)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_has_the_same_reason_with_every_decoder(name: str, decoder: str) -> None:
    make, reason = BAD[name]
    with pytest.raises(SampleError) as refusal:
        read_frames(make(), [0, 39], expect_frames=40, decoder=decoder)
    assert refusal.value.reason is reason


@pytest.mark.parametrize(("expected", "reason"), [(41, Reason.short_read), (39, Reason.changed)])
def test_another_number_of_frames_than_in_the_catalog_is_told(expected: int, reason: Reason) -> None:
    for decoder in filter(loads, DECODERS):
        with pytest.raises(SampleError) as refusal:
            read_frames(GOOD, [0], expect_frames=expected, decoder=decoder)
        assert refusal.value.reason is reason


def test_a_frame_beyond_the_last_is_a_short_read(decoder: str) -> None:
    with pytest.raises(SampleError, match="short_read: frame 40 of a video of 40"):
        read_frames(GOOD, [39, 40], decoder=decoder)


@pytest.mark.parametrize("indices", [[], [-1, 2], [[0, 1]]])
def test_impossible_frame_numbers_are_our_own_mistake(indices: list) -> None:
    with pytest.raises(ValueError, match="frame number"):
        read_frames(GOOD, indices)


def test_a_decoder_that_does_not_load_is_named_and_never_replaced_in_silence() -> None:
    with pytest.raises(RuntimeError, match="decoder cinema does not load.*decoder=pyav"):
        read_frames(GOOD, [0], decoder="cinema")  # type: ignore[arg-type]


@pytest.mark.parametrize("gop", [250, 12])
def test_any_clip_of_a_video_with_b_frames_is_the_one_decoded_in_sequence(gop: int) -> None:
    data = media.video(60, gop=gop, b_frames=3)
    frames_THWC = every_frame(data)
    for start in range(0, 60, 7):
        for stride in (1, 4):
            indices = list(range(start, min(60, start + 16 * stride), stride))
            read_THWC = decoders.read_pyav(data, indices, expect_frames=60)
            np.testing.assert_array_equal(read_THWC, frames_THWC[indices])


def test_an_encoded_clip_looks_like_its_source() -> None:
    clip_THWC = media.moving_square(20)
    file = io.BytesIO()
    encode_h264(iter(clip_THWC), file, fps=25, crf=12)
    decoded_THWC = every_frame(file.getvalue())
    assert decoded_THWC.shape == clip_THWC.shape
    assert np.abs(decoded_THWC.astype(int) - clip_THWC).mean() < 4


@pytest.mark.parametrize(("gop", "key_frames"), [(8, 5), (250, 1)])
def test_key_frames_come_at_the_distance_asked_for(gop: int, key_frames: int) -> None:
    with av.open(io.BytesIO(media.video(40, gop=gop, b_frames=0))) as container:
        assert sum(packet.is_keyframe for packet in container.demux(video=0) if packet.size) == key_frames


def test_encoding_is_the_same_bytes_each_time() -> None:
    assert media.video(12) == media.video(12)


def test_a_rate_that_is_no_whole_number_is_kept() -> None:
    assert probe(media.video(30, fps=30000 / 1001)).fps == pytest.approx(30000 / 1001, rel=1e-4)


@pytest.mark.parametrize(
    ("clip_THWC", "problem"),
    [
        (np.zeros((2, 63, 96, 3), np.uint8), "even sizes"),
        (np.zeros((0, 64, 96, 3), np.uint8), "no frames"),
        ([np.zeros((64, 96, 3), np.uint8), np.zeros((32, 96, 3), np.uint8)], "32x96 in a video of 64x96"),
    ],
)
def test_what_cannot_be_encoded_is_refused(clip_THWC: object, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        encode_h264(clip_THWC, io.BytesIO(), fps=25)


def test_the_module_loads_no_decoder() -> None:
    source = Path(video.__file__).read_text() + Path(decoders.__file__).read_text()
    assert not [line for line in source.splitlines() if line.startswith(("import av", "import decord", "import torch"))]
