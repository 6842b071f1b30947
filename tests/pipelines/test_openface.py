from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pipelines.action_units import ACTION_UNITS, active_units
from pipelines.landmarks import frontal_template
from pipelines.openface import read_csv
from pipelines.quarantine import Reason, SampleError
from pipelines.synthetic.openface import COLUMNS, write_csv

FRAMES = 20
RNG = np.random.default_rng(0)
LANDMARKS = frontal_template(224) + RNG.uniform(-5, 5, (FRAMES, 1, 2)).astype(np.float32)
INTENSITY = RNG.choice((0.0, 0.4, 1.0, 2.5, 4.75), (FRAMES, 18))
POSE = np.tile((0.0, 0.0, 900.0, 0.1, -0.3, 0.0), (FRAMES, 1))

Rows = list[list[str]]


def csv() -> bytes:
    return write_csv(LANDMARKS, INTENSITY, POSE, fps=25.0)


def changed(change: Callable[[list[str], Rows], None], separator: str = ",") -> bytes:
    """The CSV after a change to its header and rows."""
    header, *rows = [line.split(",") for line in csv().decode().splitlines()]
    change(header, rows)
    return "\n".join(separator.join(line) for line in [header, *rows]).encode()


def fill(column: str, value: str, rows: slice = np.s_[:]) -> Callable[[list[str], Rows], None]:
    def change(header: list[str], table: Rows) -> None:
        for row in table[rows]:
            row[header.index(column)] = value

    return change


def without(*columns: str) -> Callable[[list[str], Rows], None]:
    def change(header: list[str], table: Rows) -> None:
        for column in columns:
            place = header.index(column)
            for row in [header, *table]:
                del row[place]

    return change


def test_what_was_written_is_read() -> None:
    track = read_csv(csv(), FRAMES)
    assert track.source == "openface" and track.features_TF is None and track.face_id == 0
    assert track.valid_T.all()
    np.testing.assert_allclose(track.landmarks_T682, LANDMARKS, atol=0.051)
    with_intensity = [i for i, unit in enumerate(ACTION_UNITS) if unit != 28]
    np.testing.assert_allclose(track.score_T18[:, with_intensity], INTENSITY[:, with_intensity], atol=1e-6)
    np.testing.assert_allclose(track.yaw_T, np.degrees(0.3), atol=0.05)
    np.testing.assert_allclose(track.pitch_T, np.degrees(0.1), atol=0.05)
    assert {track.landmarks_T682.dtype, track.score_T18.dtype, track.box_T4.dtype} == {np.dtype(np.float32)}


def test_a_unit_is_active_where_openface_says_so() -> None:
    track = read_csv(csv(), FRAMES)
    np.testing.assert_array_equal(track.score_T18 >= 1, INTENSITY >= 1)
    for presence, expected in (("0.0", False), ("1.0", True)):
        shown = read_csv(changed(fill("AU12_c", presence)), FRAMES)
        assert active_units(shown.score_T18, shown.valid_T)[ACTION_UNITS.index(12)] == expected


def test_au28_has_no_intensity_but_is_read() -> None:
    assert "AU28_r" not in COLUMNS
    track = read_csv(changed(fill("AU28_c", "1.0", np.s_[5:10])), FRAMES)
    assert (track.score_T18[5:10, ACTION_UNITS.index(28)] == 1).all()


def test_intensity_alone_is_enough() -> None:
    track = read_csv(changed(without(*(f"AU{unit:02d}_c" for unit in ACTION_UNITS))), FRAMES)
    brow = ACTION_UNITS.index(4)
    np.testing.assert_allclose(track.score_T18[:, brow], INTENSITY[:, brow], atol=1e-6)
    assert (track.score_T18[:, ACTION_UNITS.index(28)] == 0).all()


def test_negative_intensities_of_an_unfinished_file_are_zero() -> None:
    track = read_csv(changed(fill("AU01_r", "-0.70")), FRAMES)
    assert track.score_T18.min() == 0


def test_names_and_values_may_be_padded() -> None:
    plain, padded = read_csv(csv(), FRAMES), read_csv(changed(lambda header, rows: None, ", "), FRAMES)
    np.testing.assert_array_equal(padded.landmarks_T682, plain.landmarks_T682)
    np.testing.assert_array_equal(padded.score_T18, plain.score_T18)


@pytest.mark.parametrize("column, value", [("success", "0"), ("confidence", "0.55")])
def test_failed_and_doubtful_frames_are_not_valid(column: str, value: str) -> None:
    def change(header: list[str], rows: Rows) -> None:
        for row in rows[3:6]:
            row[5:] = ["0.0"] * len(row[5:])
            row[header.index(column)] = value

    track = read_csv(changed(change), FRAMES)
    np.testing.assert_array_equal(np.flatnonzero(~track.valid_T), [3, 4, 5])
    assert np.isnan(track.landmarks_T682[3:6]).all() and (track.score_T18[3:6] == 0).all()
    assert (track.yaw_T[3:6] == 0).all()
    assert (track.box_T4[:, 2] > 100).all(), "the box goes on over the gap, and knows nothing of the zeros"


def test_frames_without_a_row_are_not_valid() -> None:
    track = read_csv(changed(lambda header, rows: rows.__delitem__(slice(8, None))), FRAMES)
    np.testing.assert_array_equal(np.flatnonzero(track.valid_T), np.arange(8))
    assert len(track) == FRAMES


def test_a_video_in_which_no_face_was_found_has_no_valid_frame() -> None:
    track = read_csv(changed(fill("success", "0")), FRAMES)
    assert not track.valid_T.any() and np.isnan(track.box_T4).all()


def test_of_several_faces_the_longest_is_read() -> None:
    def change(header: list[str], rows: Rows) -> None:
        other = [list(row) for row in rows[:5]]
        for row in other:
            row[header.index("face_id")] = "7"
            row[header.index("x_30")] = "1.0"
        rows[:0] = other

    alone, longest = read_csv(csv(), FRAMES), read_csv(changed(change), FRAMES)
    np.testing.assert_array_equal(longest.landmarks_T682, alone.landmarks_T682)


def test_openface_3_is_refused() -> None:
    header = "frame,face_id,timestamp,confidence,success," + ",".join(f"AU{i:02d}_r" for i in range(1, 9))
    with pytest.raises(ValueError, match="OpenFace 3"):
        read_csv(f"{header}\n1,0,0.0,1.0,1,0,0,0,0,0,0,0,0\n".encode(), 1)


@pytest.mark.parametrize("missing", ["frame", "success", "x_0", "y_30"])
def test_a_file_of_something_else_is_refused(missing: str) -> None:
    with pytest.raises(ValueError, match=missing):
        read_csv(changed(without(missing)), FRAMES)


def test_a_file_without_action_units_is_refused() -> None:
    with pytest.raises(ValueError, match="-aus"):
        read_csv(changed(without(*(name for name in COLUMNS if name.startswith("AU")))), FRAMES)


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", Reason.empty),
        (csv().splitlines()[0] + b"\n", Reason.empty),
        (csv() + b"21,0,0.8\n", Reason.decode),
        (changed(fill("x_3", "nan", np.s_[4:5])), Reason.decode),
        (changed(fill("x_3", "oops", np.s_[4:5])), Reason.decode),
        (changed(fill("frame", "7", np.s_[4:5])), Reason.decode),
        (changed(fill("frame", "0", np.s_[0:1])), Reason.changed),
    ],
)
def test_broken_rows_reject_the_sample(data: bytes, reason: Reason) -> None:
    with pytest.raises(SampleError) as error:
        read_csv(data, FRAMES)
    assert error.value.reason == reason


def test_a_csv_of_a_longer_video_is_of_another_video() -> None:
    with pytest.raises(SampleError, match="frames 1 to 20, the video has 19"):
        read_csv(csv(), FRAMES - 1)
