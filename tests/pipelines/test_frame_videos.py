"""The frames of videos in a catalog of images, and the recordings that they were cut from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.frame_videos import frame_videos, list_recordings, recording_of
from pipelines.storage import Storage
from tests.pipelines.frame_corpus import write_frames


def test_frames_are_grouped_by_video_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    bad = "cropped_aligned/b/00003.png"
    catalog = write_frames(tmp_path, {"b": [0, 2, 4], "a": [99_998, 99_999, 100_000]}, unusable={bad: "decode"})
    uris = catalog.table["uri"].to_pylist()
    found = {video.name: video for video in frame_videos(catalog)}
    assert list(found) == ["a", "b"]
    assert found["a"].frame_M.tolist() == [99_998, 99_999, 100_000]  # by name the last two come first
    assert found["b"].frame_M.tolist() == [0, 4]
    for video in found.values():
        names = [f"cropped_aligned/{video.name}/{frame + 1:05d}.png" for frame in video.frame_M]
        assert [uris[row] for row in video.row_M] == names


def test_a_video_without_a_usable_frame_is_among_them(tmp_path: Path) -> None:
    catalog = write_frames(tmp_path, {"a": [0], "b": [1]}, unusable={"cropped_aligned/a/00001.png": "decode"})
    assert [(video.name, len(video.row_M)) for video in frame_videos(catalog)] == [("a", 0), ("b", 1)]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("kind", "video", "are no images"),
        ("uri", "cropped_aligned/a/first.png", "no number as its name"),
        ("uri", "cropped_aligned/a/00000.png", "counts from 0"),
        ("uri", "cropped_aligned/a/2.jpg", "the same frame"),
    ],
)
def test_rows_that_are_no_frames_are_refused(tmp_path: Path, column: str, value: str, message: str) -> None:
    catalog = write_frames(tmp_path, {"a": [0, 1]})
    table = catalog.table
    values = [value, *table[column].to_pylist()[1:]]
    table = table.set_column(table.schema.get_field_index(column), column, pa.array(values))
    with pytest.raises(ValueError, match=message):
        frame_videos(replace(catalog, table=table))


def test_a_video_has_its_own_recording_or_that_of_both_people_in_it(tmp_path: Path) -> None:
    folder = Storage(tmp_path)
    for name in ("batch1/7.mp4", "8_left.avi", "8.mp4", "notes.txt", "voice.wav"):
        folder.write(name, b"x")
    found = list_recordings(folder)
    assert {name: item.name for name, item in found.items()} == {
        "7": "batch1/7.mp4",
        "8_left": "8_left.avi",
        "8": "8.mp4",
        "voice": "voice.wav",
    }
    names = [recording_of(video, found) for video in ("7_left", "7_right", "7", "8_left", "8_right", "9")]
    assert [item and item.name for item in names] == [*["batch1/7.mp4"] * 3, "8_left.avi", "8.mp4", None]


def test_two_recordings_of_one_name_and_none_at_all_are_refused(tmp_path: Path) -> None:
    folder = Storage(tmp_path)
    with pytest.raises(ValueError, match="no video or sound file"):
        list_recordings(folder)
    folder.write("7.mp4", b"x")
    folder.write("sound/7.wav", b"x")
    with pytest.raises(ValueError, match="two files of 7"):
        list_recordings(folder)
