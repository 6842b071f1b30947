from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipelines.corpora import folder, mead, voxceleb2
from pipelines.corpora.registry import Labels, find


def table(*rows: tuple[str, str]) -> pa.Table:
    """One video per (split, subject)."""
    splits, subjects = zip(*rows, strict=True)
    return pa.table({"split": list(splits), "subject": list(subjects), "video": ["v"] * len(rows)})


def test_a_voxceleb2_name_tells_split_speaker_and_video() -> None:
    assert voxceleb2.parse("dev/mp4/id00012/21Uxsk56VDQ/00001.mp4") == Labels("dev", "id00012", "21Uxsk56VDQ")
    assert voxceleb2.parse("test/mp4/id09999/-_x/12345.mp4") == Labels("test", "id09999", "-_x")


@pytest.mark.parametrize(
    "name",
    [
        "dev/aac/id00012/21Uxsk56VDQ/00001.m4a",
        "dev/mp4/id00012/21Uxsk56VDQ/00001.mp4.part",
        "vox/dev/mp4/id00012/21Uxsk56VDQ/00001.mp4",
        "dev/mp4/id12/21Uxsk56VDQ/00001.mp4",
        "train/mp4/id00012/21Uxsk56VDQ/00001.mp4",
        "dev/mp4/id00012/00001.mp4",
        "dev/mp4/id00012/21Uxsk56VDQ/00001.mp4\n",
    ],
)
def test_another_name_is_no_voxceleb2_video(name: str) -> None:
    assert voxceleb2.parse(name) is None


def test_a_speaker_in_both_splits_is_refused_by_name() -> None:
    disjoint = table(("dev", "id00001"), ("dev", "id00001"), ("test", "id00002"))
    assert voxceleb2.settle(disjoint) == disjoint
    with pytest.raises(ValueError, match="1 subjects are in more than one split: id00001;"):
        voxceleb2.settle(table(("dev", "id00001"), ("test", "id00001"), ("test", "id00002")))


def test_in_a_folder_the_first_sub_folder_is_the_subject() -> None:
    assert folder.parse("anna/monday/1.MP4")[1:3] == ("anna", "monday/1")
    assert folder.parse("anna/2.webm")[1:3] == ("anna", "2")
    assert folder.parse("alone.mov")[1:3] == ("alone", "alone")
    assert folder.parse("anna/notes.txt") is None
    assert folder.parse("anna/.hidden.mp4") is None


def test_about_a_twentieth_of_the_subjects_of_a_folder_is_held_out_for_good() -> None:
    splits = {f"person {i}": folder.parse(f"person {i}/a.mp4").split for i in range(2000)}
    assert 70 <= sum(split == "test" for split in splits.values()) <= 130
    assert all(folder.parse(f"{subject}/b/c.avi").split == split for subject, split in splits.items())


@pytest.mark.parametrize("splits", [("dev", "dev", "dev"), ("test", "test", "test")])
def test_a_small_folder_gets_both_splits_and_keeps_subjects_together(splits: tuple[str, ...]) -> None:
    settled = folder.settle(table(*zip(splits, ("anna", "bert", "anna"), strict=True)))
    by_subject = dict(zip(settled["subject"].to_pylist(), settled["split"].to_pylist(), strict=True))
    assert sorted(by_subject.values()) == ["dev", "test"]
    assert settled["split"][0] == settled["split"][2]


def test_a_folder_of_one_subject_is_all_for_training() -> None:
    settled = folder.settle(table(("test", "anna"), ("test", "anna")))
    assert pc.unique(settled["split"]).to_pylist() == ["dev"]


def test_a_mead_name_tells_actor_and_take_and_all_views_share_them() -> None:
    names = [f"M003/video/{view}/angry/level_2/017.mp4" for view in mead.VIEWS]
    assert {mead.parse(name)[1:3] for name in names} == {("M003", "angry/level_2/017")}
    assert mead.read_name(names[2]) == ("M003", "left_60", "angry", 2, 17)
    assert mead.read_name("M042/video/2/top/neutral/level_1/001.mp4") == ("M042", "top", "neutral", 1, 1)


@pytest.mark.parametrize(
    "name",
    [
        "M003/audio/angry/level_1/001.m4a",
        "M003/video/front/angry/level_1/001.mp4.part",
        "M003/video/front/angry/level_1/._001.mp4",
        "annotations/M003/video/front/angry/level_1/001.csv",
        "MEAD/M003/video/front/angry/level_1/001.mp4",
    ],
)
def test_another_name_is_no_mead_video(name: str) -> None:
    assert mead.parse(name) is None


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("M003/video/left_45/angry/level_1/001.mp4", "unknown view 'left_45'; there are front, left_30"),
        ("M003/video/front/anger/level_1/001.mp4", "unknown emotion 'anger'; there are angry"),
        ("M003/video/front/angry/level_4/001.mp4", "unknown level 4; there are 1, 2, 3"),
        ("M003/video/front/neutral/level_3/001.mp4", "neutral at level 3"),
        ("M003/video/front/angry/level_1/01.mp4", "does not follow <actor>/video"),
        ("M003/video/front/angry/001.mp4", "does not follow <actor>/video"),
    ],
)
def test_a_misnamed_mead_video_is_listed_and_refused_by_name(name: str, problem: str) -> None:
    labels = mead.parse(name)
    assert labels is not None and labels.subject == "M003"
    with pytest.raises(ValueError, match="1 videos are misnamed") as refusal:
        mead.settle(pa.table({"uri": [name, "M003/video/front/angry/level_1/002.mp4"]}))
    assert name in str(refusal.value) and problem in str(refusal.value)


def test_mead_actors_are_held_out_as_a_folders_subjects_are() -> None:
    names = [f"W{i:03d}/video/front/sad/level_1/001.mp4" for i in range(1, 49)]
    labels = [mead.parse(name) for name in names]
    assert [label.split for label in labels] == [folder.parse(f"{label.subject}/a.mp4").split for label in labels]
    few = pa.table({"uri": names[:3], "split": ["dev"] * 3, "subject": ["W001", "W002", "W003"]})
    assert sorted(mead.settle(few)["split"].to_pylist()) == ["dev", "dev", "test"]


def test_a_mirror_exchanges_left_and_right_views_and_meads_labels_keep_their_order() -> None:
    mirrored = [mead.VIEWS[index] for index in mead.MIRRORED_VIEW]
    assert mirrored == ["front", "right_30", "right_60", "left_30", "left_60", "top", "down"]
    assert [mead.EMOTIONS.index(name) for name in ("angry", "disgusted", "contempt", "neutral")] == [0, 1, 2, 7]


def test_an_unknown_corpus_is_refused_with_the_names_there_are() -> None:
    assert find("voxceleb2") is voxceleb2
    with pytest.raises(ValueError, match="no corpus 'vox'; there are: voxceleb2, folder, dfew, .*, table"):
        find("vox")
