from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.frame_labels import read_frame_labels
from pipelines.storage import Storage
from tests.pipelines.affect_tree import EXPR, LISTS, MTL, make_tree

EXAMPLE = "test_set_examples/CVPR_6th_ABAW_Expr_test_set_example.txt"


def read(root: Path, protocol: str, changes: dict[str, str | None] | None = None):
    return read_frame_labels(Storage(str(make_tree(root, changes))), protocol)


def test_a_sequence_has_every_line_also_of_frames_without_an_image(tmp_path: Path) -> None:
    labels = read(tmp_path, "expr")
    assert labels.videos() == ["video1", "video2_left", "video3"]
    assert [labels.part(video) for video in labels.videos()] == ["train", "train", "test"]
    assert [labels.num_frames(video) for video in labels.videos()] == [4, 2, 2]
    target_N8 = labels.targets("video1")
    assert target_N8.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(target_N8).all(1), [False, True, False, False])
    np.testing.assert_array_equal(target_N8[[0, 2, 3]].argmax(1), [4, 0, 7])
    assert labels.protocol.classes == tuple(EXPR.split(","))


def test_units_are_marks_and_a_row_counts_as_a_whole(tmp_path: Path) -> None:
    target_N12 = read(tmp_path, "au").targets("video1")
    np.testing.assert_array_equal(target_N12[[0, 1]], [[1] * 12, [0] * 12])
    assert np.isnan(target_N12[2]).all()


def test_valence_and_arousal_are_values(tmp_path: Path) -> None:
    target_N2 = read(tmp_path, "va").targets("video1")
    np.testing.assert_allclose(target_N2, [(0.5, -0.25), (np.nan, np.nan), (np.nan, np.nan), (1, -1)])


def test_several_tasks_stand_side_by_side_as_long_as_the_longest(tmp_path: Path) -> None:
    labels = read(tmp_path, "all")
    assert labels.targets("video1").shape == (4, 22) and labels.part("video3") == "test"
    np.testing.assert_array_equal(np.isnan(labels.targets("video3")[0]), [False] * 8 + [True] * 12 + [False] * 2)
    assert labels.test_videos() == ["video4"]


def test_the_multi_task_file_leaves_frames_out_that_it_does_not_name(tmp_path: Path) -> None:
    target_NK = read(tmp_path, "mtl", MTL).targets("video1")
    np.testing.assert_array_equal(np.isnan(target_NK).all(1), [True, False, True, False])


def test_folds_say_where_a_video_is_tested(tmp_path: Path) -> None:
    labels = read(tmp_path, "expr_folds")
    assert {labels.part(video) for video in labels.videos()} == {"1", "2", "3"}
    assert labels.test_videos() == ["video4"]


def test_examples_tell_how_many_frames_a_test_video_has(tmp_path: Path) -> None:
    assert read(tmp_path, "expr").num_frames("video4") == 3
    labels = read(tmp_path, "va")
    assert labels.test_videos() == ["video4", "video2_left"]
    with pytest.raises(ValueError, match="how many frames the video 'video4' has under protocol va"):
        labels.num_frames("video4")


def test_an_example_alone_lists_the_test_videos(tmp_path: Path) -> None:
    lists = dict.fromkeys([f"{LISTS}/Expression_Recognition_Challenge_test_set_release.txt"])
    assert read(tmp_path, "expr", lists).test_videos() == ["video4"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("video4/00001.jpg\nvideo4/00003.jpg\n", "line 3: 'video4/00003.jpg' is not the next frame"),
        ("video4/00002.jpg\n", "line 2"),
        ("video5/00001.jpg\n", "list and example of the test set of expr differ in the videos video4, video5"),
    ],
)
def test_an_example_that_leaves_frames_out_is_refused(tmp_path: Path, rows: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read(tmp_path, "expr", {EXAMPLE: f"image_location,{EXPR}\n{rows}"})


def test_a_protocol_that_is_not_there_lists_the_others(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no labels of protocol 'mtl'; it has expr, au, va, expr_folds"):
        read(tmp_path, "mtl")
