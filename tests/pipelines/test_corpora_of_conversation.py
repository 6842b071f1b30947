"""MFA-Wild and CMU-MOSEI: trees of empty files in their layouts, with a list of labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.corpora import cmu_mosei, mfa
from pipelines.labels import attribute_values
from tests.pipelines.labelled_tree import labelled, told, touch, write

# MFA

MFA_ROWS = """na/vid_1.mp4,female,['none'],train
na/vid_10_1.mp4,female,"['annoyed', 'contempt']",train
na/vid_10_2.mp4,female,['annoyed'],train
persian/vid_1.mp4,male,['hatred'],validation
persian/vid_37.mp4,,['furious'],test
"""


def mfa_root(root: Path, rows: str = MFA_ROWS) -> Path:
    touch(root, *(f"videos/{line.split(',')[0]}" for line in MFA_ROWS.splitlines()))
    write(root, {mfa.LABELS: "filename,gender,emotions,split\n" + rows})
    return root


def test_an_mfa_video_has_one_label_or_several_or_none(tmp_path: Path) -> None:
    found = labelled(mfa, mfa_root(tmp_path))
    assert [protocol.metric for protocol in found.protocols] == ["v_f1", "multi_label_f1"]
    assert told(found, "single") == {
        "videos/na/vid_10_2.mp4": ("annoyed", "train"),
        "videos/persian/vid_1.mp4": ("hatred", "validation"),
        "videos/persian/vid_37.mp4": ("furious", "test"),
    }
    multi = told(found, "multi")
    assert multi["videos/na/vid_10_1.mp4"] == ("contempt+annoyed", "train")
    assert multi["videos/na/vid_1.mp4"] == ("", "train") and len(multi) == 5
    assert found.table["subject"].to_pylist() == [
        "na/vid_1",
        "na/vid_10",
        "na/vid_10",
        "persian/vid_1",
        "persian/vid_37",
    ]
    assert found.table["split"].to_pylist() == ["train", "train", "train", "validation", "test"]
    assert attribute_values(found.table["attributes"], "culture")[2:4] == ["na", "persian"]
    assert attribute_values(found.table["attributes"], "gender")[3:] == ["male", ""]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("['annoyed'],train", "['annoyed'],test", "1 subjects are in several parts of protocol multi: na/vid_10"),
        ("['furious']", "['disgust']", "persian/vid_37.mp4 has \"\\['disgust'\\]\", no list of contempt, annoyed"),
        ("['furious']", "furious", "persian/vid_37.mp4 has 'furious', no list"),
        ("['furious']", "\"['none', 'anger']\"", "none goes with no other"),
        ("['furious'],test", "['furious'],dev", "persian/vid_37.mp4 is in 'dev', not in train, validation, test"),
        ("vid_37", "vid_38", "not there: videos/persian/vid_38.mp4"),
        ("vid_10_1", "vid_10_2", "lists videos/na/vid_10_2.mp4 more than once"),
        (",test", "", "fewer than 4 columns"),
    ],
)
def test_mfa_labels_that_cannot_be_right_are_refused(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert MFA_ROWS.count(old) == 1
    with pytest.raises(ValueError, match=problem):
        labelled(mfa, mfa_root(tmp_path, MFA_ROWS.replace(old, new)))


def test_withdrawn_mfa_videos_may_stay_listed_and_the_list_must_be_there(tmp_path: Path) -> None:
    found = labelled(mfa, mfa_root(tmp_path), without=["na/vid_10"])
    assert found.table.num_rows == 3
    (tmp_path / mfa.LABELS).unlink()
    with pytest.raises(ValueError, match=f"{mfa.LABELS} is missing"):
        labelled(mfa, tmp_path)


# CMU-MOSEI

MOSEI_ROWS = """-3g5yACwYnA,4,train,0.6667,0,0,0,0,0
-3g5yACwYnA,13,train,0,0,0,0,0,0
a_b_c,0,valid,0,2.3333,0.3333,0,0,0
128752,1,test,0,0,0,4.3333,0,1
_UNQDdiAbWI,0,,1,0,0,0,0,0
"""


def mosei_root(root: Path, rows: str = MOSEI_ROWS) -> Path:
    segments = ("_".join(line.split(",")[:2]) for line in MOSEI_ROWS.splitlines())
    touch(root, *(f"Videos/Segmented/Combined/{segment}.mp4" for segment in segments))
    header = "video,clip,split,happiness,sadness,anger,fear,disgust,surprise\n"
    write(root, {cmu_mosei.LABELS: header + rows})
    return root


def test_a_mosei_segment_has_every_emotion_with_a_score_above_zero(tmp_path: Path) -> None:
    found = labelled(cmu_mosei, mosei_root(tmp_path))
    folder = cmu_mosei.SEGMENTS
    assert told(found, "emotions") == {
        f"{folder}/-3g5yACwYnA_4.mp4": ("happiness", "train"),
        f"{folder}/-3g5yACwYnA_13.mp4": ("", "train"),
        f"{folder}/a_b_c_0.mp4": ("sadness+anger", "validation"),
        f"{folder}/128752_1.mp4": ("fear+surprise", "test"),
    }
    by_uri = dict(zip(found.table["uri"].to_pylist(), found.table.to_pylist(), strict=True))
    assert by_uri[f"{folder}/a_b_c_0.mp4"]["subject"] == "a_b_c"
    assert by_uri[f"{folder}/_UNQDdiAbWI_0.mp4"]["split"] == "all"
    assert (found.protocols[0].metric, found.protocols[0].official) == ("multi_label_accuracy", 23_453)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("-3g5yACwYnA,13,train", "-3g5yACwYnA,13,test", "1 subjects are in several parts of protocol emotions: -3g5yA"),
        ("128752,1,test", "128752,1,dev", "128752_1 is in 'dev', not in train, valid, test"),
        ("128752,1,test", "128752,2,test", "not there: Videos/Segmented/Combined/128752_2.mp4"),
        ("-3g5yACwYnA,13", "-3g5yACwYnA,4", "lists Videos/Segmented/Combined/-3g5yACwYnA_4.mp4 more than once"),
        ("4.3333", "nan", "fear of 128752_1 is 'nan', no score from 0 up"),
        ("4.3333", "-1", "fear of 128752_1 is '-1', no score from 0 up"),
        ("4.3333", "", "fear of 128752_1 is '', no score from 0 up"),
    ],
)
def test_mosei_labels_that_cannot_be_right_are_refused(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert MOSEI_ROWS.count(old) == 1
    with pytest.raises(ValueError, match=problem):
        labelled(cmu_mosei, mosei_root(tmp_path, MOSEI_ROWS.replace(old, new)))


def test_withdrawn_mosei_segments_may_stay_listed_and_the_list_must_be_whole(tmp_path: Path) -> None:
    found = labelled(cmu_mosei, mosei_root(tmp_path), without=["-3g5yACwYnA"])
    assert len(told(found, "emotions")) == 2
    write(tmp_path, {cmu_mosei.LABELS: "video,clip,split,happiness,sadness,anger,fear,disgust\n"})
    with pytest.raises(ValueError, match="has no columns surprise"):
        labelled(cmu_mosei, tmp_path)


def test_other_files_are_no_videos_of_mfa_or_mosei() -> None:
    assert mfa.parse("videos/vid_1.mp4") is None
    assert mfa.parse("videos/na/vid_1.wav") is None
    assert cmu_mosei.parse("Videos/Full/Combined/-3g5yACwYnA.mp4") is None
    assert cmu_mosei.parse("Videos/Segmented/Combined/-3g5yACwYnA_a.mp4") is None
