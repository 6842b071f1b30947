from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipelines.corpora import folder, voxceleb2
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
    assert folder.parse("anna/monday/1.MP4")[1:] == ("anna", "monday/1")
    assert folder.parse("anna/2.webm")[1:] == ("anna", "2")
    assert folder.parse("alone.mov")[1:] == ("alone", "alone")
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


def test_an_unknown_corpus_is_refused_with_the_names_there_are() -> None:
    assert find("voxceleb2") is voxceleb2
    with pytest.raises(ValueError, match="no corpus 'vox'; there are: voxceleb2, folder"):
        find("vox")
