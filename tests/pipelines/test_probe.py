from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from pipelines.probe import Limits, VideoInfo, probe
from pipelines.quarantine import Reason, SampleError
from tests.pipelines import media

GOOD = media.video(40)


def _head(data: bytes, *, packets: int) -> bytes:
    with av.open(io.BytesIO(data)) as container:
        *_, last = itertools.islice(container.demux(video=0), packets)
        return data[: last.pos + last.size]


def _half(data: bytes) -> bytes:
    return data[: len(data) * 55 // 100]


BAD: dict[str, tuple[Callable[[], bytes], Reason]] = {
    "zero bytes": (lambda: b"", Reason.empty),
    "a truncated file with its index at the end": (lambda: GOOD[: len(GOOD) // 2], Reason.container),
    "a truncated file with its index at the front": (
        lambda: media.faststart(GOOD)[: len(GOOD) * 6 // 10],
        Reason.short_read,
    ),
    "a file that lacks its last twentieth": (lambda: media.faststart(GOOD)[: len(GOOD) * 95 // 100], Reason.short_read),
    "a file cut between two frames": (lambda: _head(media.faststart(GOOD), packets=30), Reason.short_read),
    "a truncated Matroska file": (lambda: _half(media.remux(GOOD, "matroska")), Reason.short_read),
    "a truncated AVI file": (lambda: media.avi()[:-3000], Reason.short_read),
    "an error page of a store": (lambda: media.ERROR_PAGE, Reason.not_media),
    "a web page": (lambda: b"<!DOCTYPE html><html></html>", Reason.not_media),
    "a playlist that names another file": (lambda: b"#EXTM3U\nfile:///etc/passwd\n", Reason.not_media),
    "sound alone": (media.sound_only, Reason.no_video),
    "a still image": (media.picture, Reason.single_frame),
    "a video of one frame": (lambda: media.video(1), Reason.single_frame),
    "a size that changes": (media.size_changes, Reason.format),
    "overwritten bytes": (lambda: media.damaged(media.faststart(GOOD)), Reason.decode),
    "frames that go back in time": (
        lambda: media.remux(media.video(40, b_frames=0), "mp4", times=[t - 30 * (t % 10 == 9) for t in range(40)]),
        Reason.timestamps,
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_with_its_reason(name: str) -> None:
    make, reason = BAD[name]
    with pytest.raises(SampleError) as refusal:
        probe(make())
    assert refusal.value.reason is reason, str(refusal.value)


def test_a_good_file_is_described_as_it_decodes() -> None:
    assert probe(GOOD) == VideoInfo(frames=40, fps=25.0, width=96, height=64, seconds=1.6)


@pytest.mark.parametrize("container", ["mp4", "mov", "matroska", "mpegts", "flv"])
def test_the_container_does_not_matter(container: str) -> None:
    info = probe(media.remux(GOOD, container))
    assert (info.frames, info.width, info.height) == (40, 96, 64)
    assert info.fps == pytest.approx(25, rel=0.02)


def test_frames_that_an_edit_list_hides_are_no_damage() -> None:
    data = media.remux(media.video(40, b_frames=0, gop=4), "mp4", times=[t - 6 for t in range(40)])
    assert probe(data).frames == 34


def test_three_frames_are_a_video() -> None:
    assert probe(media.video(3)).frames == 3


def test_a_path_is_probed_like_bytes(tmp_path: Path) -> None:
    (tmp_path / "clip.png").write_bytes(GOOD)  # the name says nothing
    assert probe(tmp_path / "clip.png") == probe(GOOD)
    with pytest.raises(SampleError, match="missing"):
        probe(tmp_path / "absent.mp4")


def test_the_size_is_that_of_the_upright_frame() -> None:
    info = probe(media.rotated(GOOD))
    assert (info.width, info.height) == (64, 96)


def test_a_variable_rate_counts_as_its_mean() -> None:
    data = media.remux(media.video(20, b_frames=0), "mp4", times=[t + 31 * (t == 19) for t in range(20)])
    assert probe(data).fps == pytest.approx(19 / 2.0, rel=0.01)


@pytest.mark.parametrize("limits", [Limits(bytes=1000), Limits(pixels=96 * 64 - 1), Limits(seconds=1.5)])
def test_a_file_beyond_the_limits_is_refused(limits: Limits) -> None:
    with pytest.raises(SampleError, match="too_large"):
        probe(GOOD, limits=limits)


def test_a_header_that_hides_the_length_does_not_get_around_the_limit() -> None:
    endless = media.remux(media.video(300, fps=250, b_frames=0), "matroska", live="1")
    with pytest.raises(SampleError, match="too_large: over 240 frames"):
        probe(endless, limits=Limits(seconds=1.0))
