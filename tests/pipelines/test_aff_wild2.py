from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from pipelines.corpora import aff_wild2
from pipelines.corpora.aff_wild2 import AFFECT_CLASSES, parse, subject_folds
from pipelines.frame_labels import VideoLabels
from pipelines.labels import label_rows
from tests.pipelines.affect_tree import AU, EXPR, IMAGES, LISTS, MTL, NO_UNITS, ROOT, make_tree
from tests.pipelines.labelled_tree import labelled, targets, told, write

EXPR_FILE = f"{ROOT}/EXPR_Recognition_Challenge/Train_Set/video1.txt"
AU_FILE = f"{ROOT}/AU_Detection_Challenge/Train_Set/video1.txt"
VA_FILE = f"{ROOT}/VA_Estimation_Challenge/Train_Set/video1.txt"
VIDEO1, VIDEO3 = "cropped_aligned/video1", "batch2/cropped_aligned_new_50_vids/video3"


@pytest.mark.parametrize(
    ("name", "subject", "video"),
    [
        ("cropped_aligned/video12/00001.jpg", "video12", "video12"),
        ("cropped_aligned/10-60-1280x720_right/01234.jpg", "10-60-1280x720", "10-60-1280x720_right"),
        ("batch1/cropped_aligned/video5_left/100000.jpg", "video5", "video5_left"),
        ("cropped_aligned_images/video5/00003.jpg", "video5", "video5"),
        ("cropped_aligned_images/cropped_aligned_new_50_vids/video5/00003.jpg", "video5", "video5"),
    ],
)
def test_an_image_is_a_row_of_its_own_and_both_halves_of_a_video_are_one_subject(
    name: str, subject: str, video: str
) -> None:
    assert parse(name) == ("all", subject, video, "")


@pytest.mark.parametrize(
    "name",
    [
        "cropped/video1/00001.jpg",
        "cropped_aligned/video1/1.jpg",
        "cropped_aligned/video1/00001.png",
        "cropped_aligned_2022_MTL_test/video1/00001.jpg",
        "videos/video1.mp4",
        f"{ROOT}/AU_Detection_Challenge/Train_Set/video1.txt",
    ],
)
def test_other_files_are_no_images_of_the_corpus(name: str) -> None:
    assert parse(name) is None


def test_line_by_line_an_image_has_the_expression_of_its_frame(tmp_path: Path) -> None:
    found = labelled(aff_wild2, make_tree(tmp_path))
    assert told(found, "expr") == {
        f"{VIDEO1}/00001.jpg": ("Happiness", "train"),
        f"{VIDEO1}/00004.jpg": ("Other", "train"),
        "cropped_aligned/video2_left/00001.jpg": ("Anger", "train"),
        "cropped_aligned/video2_left/00002.jpg": ("Anger", "train"),
        f"{VIDEO3}/00001.jpg": ("Disgust", "test"),
        f"{VIDEO3}/00002.jpg": ("Fear", "test"),
    }


def test_frames_of_which_a_unit_or_a_dimension_is_not_annotated_are_left_out(tmp_path: Path) -> None:
    found = labelled(aff_wild2, make_tree(tmp_path, {f"{VIDEO1}/00003.jpg": ""}))
    assert set(targets(found, "au")) == {
        *(f"{VIDEO1}/{frame}.jpg" for frame in ("00001", "00002", "00004")),
        *(f"cropped_aligned/video2_left/0000{frame}.jpg" for frame in (1, 2)),
    }
    assert targets(found, "au")[f"{VIDEO1}/00001.jpg"] == [1] * 12
    assert targets(found, "va") == {
        f"{VIDEO1}/00001.jpg": [0.5, -0.25],
        f"{VIDEO1}/00004.jpg": [1, -1],
        f"{VIDEO3}/00001.jpg": [pytest.approx(-0.1), pytest.approx(0.2)],
        f"{VIDEO3}/00002.jpg": [0, 0],
    }


def test_protocols_say_what_they_are(tmp_path: Path) -> None:
    found = labelled(aff_wild2, make_tree(tmp_path, MTL))
    told_of = {known.name: (known.task, len(known.classes), known.metric, known.folds) for known in found.protocols}
    assert told_of == {
        "expr": ("classes", 8, "f1_macro", 0),
        "au": ("multi_label", 12, "multi_label_f1", 0),
        "va": ("regression", 2, "ccc", 0),
        "expr_folds": ("classes", 8, "f1_macro", 5),
        "au_folds": ("multi_label", 12, "multi_label_f1", 5),
        "va_folds": ("regression", 2, "ccc", 5),
        "all": ("affect", 22, "affect", 0),
        "mtl": ("affect", 22, "affect", 0),
    }
    assert AFFECT_CLASSES[0] == "expr/Neutral" and AFFECT_CLASSES[8] == "au/AU1" and AFFECT_CLASSES[-1] == "va/arousal"


def test_all_tests_on_what_any_task_tests_on_and_on_that_task_alone(tmp_path: Path) -> None:
    found = labelled(aff_wild2, make_tree(tmp_path))
    protocol = next(known for known in found.protocols if known.name == "all")
    row_N, target_NK, part_N = label_rows(found.table["labels"], protocol)
    rows = {
        found.table["uri"][int(row)].as_py(): (target_22, part)
        for row, target_22, part in zip(row_N, target_NK, part_N, strict=True)
    }
    has = {uri: ~np.isnan(target_22[[0, 8, 20]]) for uri, (target_22, _) in rows.items()}
    assert {uri: (present.tolist(), rows[uri][1]) for uri, present in has.items()} == {
        f"{VIDEO1}/00001.jpg": ([True, True, True], "train"),
        f"{VIDEO1}/00002.jpg": ([False, True, False], "train"),
        f"{VIDEO1}/00004.jpg": ([True, True, True], "train"),
        "cropped_aligned/video2_left/00001.jpg": ([False, True, False], "test"),
        "cropped_aligned/video2_left/00002.jpg": ([False, True, False], "test"),
        f"{VIDEO3}/00001.jpg": ([True, False, True], "test"),
        f"{VIDEO3}/00002.jpg": ([True, False, True], "test"),
    }
    np.testing.assert_array_equal(rows[f"{VIDEO1}/00004.jpg"][0], [0] * 7 + [1] + [0] * 12 + [1, -1])


def test_the_file_of_several_tasks_labels_the_images_that_it_names(tmp_path: Path) -> None:
    found = labelled(aff_wild2, make_tree(tmp_path, MTL))
    rows = targets(found, "mtl")
    assert set(rows) == {f"{VIDEO1}/00002.jpg", f"{VIDEO1}/00004.jpg", f"{VIDEO3}/00001.jpg"}
    np.testing.assert_array_equal(rows[f"{VIDEO1}/00002.jpg"], [0] * 4 + [1] + [0] * 3 + [1] * 12 + [np.nan] * 2)
    np.testing.assert_array_equal(np.isnan(rows[f"{VIDEO1}/00004.jpg"]), [True] * 20 + [False] * 2)
    assert told(found, "mtl")[f"{VIDEO3}/00001.jpg"][1] == "test"


def test_test_videos_have_rows_without_labels(tmp_path: Path) -> None:
    found = labelled(aff_wild2, make_tree(tmp_path))
    labels = dict(zip(found.table["uri"].to_pylist(), found.table["labels"].to_pylist(), strict=True))
    assert labels["cropped_aligned/video4/00001.jpg"] == [] and len(labels) == len(IMAGES)


def test_folds_are_of_subjects_and_about_equal_in_frames() -> None:
    rng = np.random.default_rng(0)
    annotated = {}
    for number in range(60):
        target_N2 = rng.uniform(-1, 1, (int(rng.integers(50, 2000)), 2)).astype(np.float32)
        target_N2[: len(target_N2) // 3] = np.nan
        name = f"v{number}" if number >= 20 else f"v{number // 2}{('_left', '_right')[number % 2]}"
        annotated[name] = VideoLabels(target_N2, "train", "")
    fold_of = subject_folds([annotated])
    assert fold_of.keys() == set(map(aff_wild2.subject_of, annotated))
    sizes = dict.fromkeys("12345", 0)
    for video, labels in annotated.items():
        sizes[fold_of[aff_wild2.subject_of(video)]] += int((~np.isnan(labels.target_NK[:, 0])).sum())
    assert max(sizes.values()) < 1.1 * min(sizes.values())
    assert subject_folds([dict(reversed(annotated.items()))]) == fold_of
    halves = [dict(list(annotated.items())[start::2]) for start in (0, 1)]
    assert subject_folds(halves) == fold_of, "a task that lacks a subject changes nothing for the others"


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        (EXPR_FILE, f"{EXPR}\n4\n9\n0\n7\n", "line 3: 9 is not an expression from 0 to 7 or -1"),
        (EXPR_FILE, f"{EXPR}\n4\n0.5\n0\n7\n", "line 3: 0.5 is not an expression"),
        (EXPR_FILE, f"{EXPR}\n4\n\n0\n7\n", "line 3: '' is not 1 numbers"),
        (EXPR_FILE, "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise\n4\n0\n", "line 1: .* editions of 2020"),
        (AU_FILE, "AU1,AU2,AU4,AU6,AU12,AU15,AU20,AU25\n0,0,0,0,0,0,0,0\n", "line 1: .* 8 action units"),
        (EXPR_FILE, "4\n0\n", "line 1: '4' is not the line of names Neutral,"),
        (AU_FILE, f"{AU}\n{NO_UNITS}\n2,{NO_UNITS[2:]}\n", "line 3: 2 is not 0, 1 or -1"),
        (AU_FILE, f"{AU}\n{NO_UNITS}\n{NO_UNITS},0\n", f"line 3: '{NO_UNITS},0' is not 12 numbers"),
        (VA_FILE, "valence,arousal\n0,0\n3,0\n", "line 3: 3 is not a value from -1 to 1 or -5"),
        (VA_FILE, "valence,arousal\n0,0\n0,nan\n", "line 3: nan is not a value"),
        (VA_FILE, "valence,arousal\n0,0\n0,high\n", "line 3: '0,high' is not 2 numbers"),
        (VA_FILE, "valence,arousal\n", "has no line for any frame"),
        (VA_FILE, "", "line 1: '' is not the line of names"),
    ],
)
def test_what_breaks_the_format_is_named_with_file_and_line(tmp_path: Path, file: str, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"{file}.*{said}"):
        labelled(aff_wild2, make_tree(tmp_path, {file: text}))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (f"video1/00002.jpg,0,0,8,{NO_UNITS}", "line 3: 8 is not an expression"),
        (f"video1/2.jpg,0,0,1,{NO_UNITS}", "line 3: 'video1/2.jpg' is not <video>/"),
        (f"video1/00002.jpg,0,0,1,{NO_UNITS[2:]}", "line 3: .* is not 15 numbers"),
        (f"video1/00001.jpg,0,0,1,{NO_UNITS}", "line 3: frame 1 of video1; each counts once"),
        (f"video1/00000.jpg,0,0,1,{NO_UNITS}", "line 3: frame 0 of video1"),
    ],
)
def test_a_row_of_several_tasks_that_breaks_the_format_is_named(tmp_path: Path, rows: str, said: str) -> None:
    text = f"image,valence,arousal,expression,aus\nvideo1/00001.jpg,0,0,1,{NO_UNITS}\n{rows}\n"
    with pytest.raises(ValueError, match=f"training_set_annotations.txt, {said}"):
        labelled(aff_wild2, make_tree(tmp_path, {**MTL, "training_set_annotations.txt": text}))


def test_a_video_is_in_one_set_of_several_tasks(tmp_path: Path) -> None:
    text = MTL["training_set_annotations.txt"]
    with pytest.raises(ValueError, match="validation_set_annotations.txt: the videos video1 are in the training set"):
        labelled(aff_wild2, make_tree(tmp_path, {**MTL, "validation_set_annotations.txt": text}))


def test_folders_of_former_editions_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {IMAGES[0]: "", "annotations/VA_Set/Training_Set/video1.txt": "valence,arousal\n0,0\n"})
    with pytest.raises(ValueError, match="annotations/VA_Set in .* are of the editions of 2020 and 2021"):
        labelled(aff_wild2, tmp_path)


def test_a_root_without_annotations_says_where_they_are_looked_for(tmp_path: Path) -> None:
    write(tmp_path, {IMAGES[0]: ""})
    with pytest.raises(ValueError, match="no annotations: none of EXPR_Classification_Challenge.*6th_ABAW_Annotations"):
        labelled(aff_wild2, tmp_path)


def test_an_image_beyond_the_last_line_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"'{VIDEO1}/00005.jpg' is beyond line 5 of {EXPR_FILE}"):
        labelled(aff_wild2, make_tree(tmp_path, {f"{VIDEO1}/00005.jpg": ""}))


def test_an_image_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the image video1/00001.jpg is there more than once"):
        labelled(aff_wild2, make_tree(tmp_path, {"cropped_aligned_images/video1/00001.jpg": ""}))


def test_a_labelled_video_without_any_image_is_refused_unless_it_was_withdrawn(tmp_path: Path) -> None:
    make_tree(tmp_path)
    found = labelled(aff_wild2, tmp_path, without=["video3"])
    assert not any("video3" in uri for uri in found.table["uri"].to_pylist())
    for image in (tmp_path / VIDEO3).iterdir():
        image.unlink()
    with pytest.raises(ValueError, match="1 videos have no image: video3"):
        labelled(aff_wild2, tmp_path)


def test_a_video_that_nothing_names_is_refused_where_the_lists_are_complete(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_tree(tmp_path, {"cropped_aligned/video9/00001.jpg": ""})
    with pytest.raises(ValueError, match="1 videos have images, but no file .* names them: video9; complete"):
        labelled(aff_wild2, tmp_path)
    assert labelled(aff_wild2, tmp_path, without=["video9"]).table.num_rows == len(IMAGES)
    (tmp_path / f"{LISTS}/Action_Unit_Detection_Challenge_test_set_release.txt").unlink()
    with caplog.at_level(logging.WARNING):
        assert labelled(aff_wild2, tmp_path).table.num_rows == len(IMAGES) + 1
    assert "video9" in caplog.text


def test_one_task_alone_is_enough(tmp_path: Path) -> None:
    make_tree(tmp_path)
    for folder in ("EXPR_Recognition_Challenge", "AU_Detection_Challenge"):
        for file in (tmp_path / ROOT / folder).rglob("*.txt"):
            file.unlink()
    found = labelled(aff_wild2, tmp_path)
    assert [known.name for known in found.protocols] == ["va", "va_folds"]


def test_a_video_in_both_sets_and_a_test_video_with_labels_are_refused(tmp_path: Path) -> None:
    twice = VA_FILE.replace("Train", "Validation")
    with pytest.raises(ValueError, match=f"{twice} and {VA_FILE} are of one video"):
        labelled(aff_wild2, make_tree(tmp_path / "twice", {twice: "valence,arousal\n0,0\n"}))
    list_name = f"{LISTS}/Valence_Arousal_Estimation_Challenge_test_set_release.txt"
    with pytest.raises(ValueError, match="is in the test list of va"):
        labelled(aff_wild2, make_tree(tmp_path / "test", {list_name: "video1\n"}))
