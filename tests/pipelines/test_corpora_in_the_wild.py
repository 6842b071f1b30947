"""DFEW, FERV39k and MAFW: trees of empty files in their layouts, with lists as they come."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

from pipelines.corpora import dfew, ferv39k, mafw
from pipelines.corpora.registry import find_labelled
from pipelines.labels import attribute_values
from tests.pipelines.labelled_tree import labelled, targets, told, touch, write

# DFEW: ten clips, two in each fold; clip 11 has votes and no single label.

DFEW_LABELS = {number: (number - 1) % 7 + 1 for number in range(1, 11)}
DFEW_TEST = {fold: (fold, fold + 5) for fold in range(1, 6)}


def dfew_lists() -> dict[str, str]:
    def text(numbers: Collection[int]) -> str:
        return "video_name,label\n" + "".join(f"{number},{DFEW_LABELS[number]}\n" for number in numbers)

    lists = {}
    for fold, tested in DFEW_TEST.items():
        trained = [number for number in DFEW_LABELS if number not in tested]
        lists[f"EmoLabel_DataSplit/test(single-labeled)/set_{fold}.csv"] = text(tested)
        lists[f"EmoLabel_DataSplit/train(single-labeled)/set_{fold}.csv"] = text(trained)
    return lists


def dfew_votes(**changed: str) -> str:
    """Seven votes for the single label and three for the next; clip 11 is halfway between sad and neutral."""
    header = ",".join((*dfew.VOTE_COLUMNS, "order", "label"))
    rows = {"11": "0,5,5,0,0,0,0,11,0"}
    for number, label in DFEW_LABELS.items():
        counts = [0] * 7
        counts[label - 1], counts[label % 7] = 7, 3
        rows[str(number)] = ",".join(map(str, (*counts, number, label)))
    return "\n".join((header, *(rows | changed).values())) + "\n"


@pytest.fixture
def dfew_root(tmp_path: Path) -> Path:
    touch(tmp_path, *(f"Clip/jpg_256/{number:05d}/{frame:05d}.jpg" for number in range(1, 12) for frame in (1, 2)))
    write(tmp_path, dfew_lists())
    return tmp_path


def test_a_dfew_clip_has_its_emotion_and_the_fold_that_tests_it(dfew_root: Path) -> None:
    found = labelled(dfew, dfew_root)
    assert [protocol.name for protocol in found.protocols] == ["single"]
    assert found.protocols[0].classes == ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")
    single = told(found, "single")
    assert single["Clip/jpg_256/00001"] == ("Happy", "1")
    assert single["Clip/jpg_256/00007"] == ("Fear", "2")
    assert single["Clip/jpg_256/00008"] == ("Happy", "3")
    assert len(single) == 10 and found.table.num_rows == 11


def test_dfew_votes_are_soft_targets_and_maura_reads_the_most_of_all_clips(dfew_root: Path) -> None:
    write(dfew_root, {dfew.ANNOTATION: dfew_votes()})
    found = labelled(dfew, dfew_root)
    assert [protocol.name for protocol in found.protocols] == ["single", "votes", "maura"]
    assert targets(found, "votes")["Clip/jpg_256/00002"] == [0, 0.7, 0.3, 0, 0, 0, 0]
    assert targets(found, "maura")["Clip/jpg_256/00002"] == [0, 1, 0, 0, 0, 0, 0]
    assert targets(found, "maura")["Clip/jpg_256/00011"] == [0, 0.5, 0.5, 0, 0, 0, 0]
    single, votes, maura = (told(found, protocol.name) for protocol in found.protocols)
    assert {uri: part for uri, (_, part) in votes.items()} == {uri: part for uri, (_, part) in single.items()}
    assert maura.pop("Clip/jpg_256/00011")[1] == "2"
    assert maura == single


def test_an_annotated_dfew_clip_that_is_not_there_is_left_out_of_maura(
    dfew_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(dfew_root, {dfew.ANNOTATION: dfew_votes(more="10,0,0,0,0,0,0,12,1")})
    assert len(told(labelled(dfew, dfew_root, without=["00005"]), "maura")) == 10
    assert "1 of 12 annotated clips are not there" in caplog.text


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"1": "0,7,3,0,0,0,0,1,1"}, "disagree about the emotion of the clips 00001"),
        ({"1": "0,0,0,0,0,0,0,99,1"}, "the clips 00099 do not have 10 votes"),
        ({"1": "10,0,0,0,0,0,0,99,1"}, "lacks the clips 00001"),
        ({"more": "10,0,0,0,0,0,0,1,1"}, "lists 00001 more than once"),
        ({"1": "9.5,0.5,0,0,0,0,0,1,1"}, "must be whole numbers"),
    ],
)
def test_dfew_votes_that_contradict_the_lists_are_refused(
    dfew_root: Path, changed: dict[str, str], problem: str
) -> None:
    write(dfew_root, {dfew.ANNOTATION: dfew_votes(**changed)})
    with pytest.raises(ValueError, match=problem):
        labelled(dfew, dfew_root)


@pytest.mark.parametrize(
    ("name", "old", "new", "problem"),
    [
        ("test(single-labeled)/set_2.csv", "2,2", "1,1\n2,2", "00001 are in the test lists of set 1 and 2"),
        ("train(single-labeled)/set_2.csv", "1,1", "1,1\n2,2", "00002 are in the train and the test list of set 2"),
        ("train(single-labeled)/set_2.csv", "10,3\n", "", "train list of set 2 is not all that other sets test: 00010"),
        ("train(single-labeled)/set_2.csv", "10,3", "10,4", "00010 have another label in the train list of set 2"),
        ("train(single-labeled)/set_2.csv", "10,3", "10,8", "is not the number of a clip and a label from 1 to 7"),
        ("train(single-labeled)/set_2.csv", "10,3", "10,3\n10,3", "lists 00010 more than once"),
        ("train(single-labeled)/set_2.csv", "10,3", "10", "fewer than 2 columns"),
        ("train(single-labeled)/set_2.csv", "video_name", "name", "has no columns video_name; it has name, label"),
    ],
)
def test_dfew_lists_that_contradict_each_other_are_refused(
    dfew_root: Path, name: str, old: str, new: str, problem: str
) -> None:
    file = dfew_root / "EmoLabel_DataSplit" / name
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=problem):
        labelled(dfew, dfew_root)


def test_a_missing_dfew_list_is_named(dfew_root: Path) -> None:
    (dfew_root / "EmoLabel_DataSplit/test(single-labeled)/set_4.csv").unlink()
    with pytest.raises(ValueError, match=r"test\(single-labeled\)/set_4.csv is missing"):
        labelled(dfew, dfew_root)


def test_a_listed_dfew_clip_that_is_not_there_must_have_been_withdrawn(dfew_root: Path) -> None:
    for entry in ("Clip/jpg_256/00003", "00003"):
        assert "Clip/jpg_256/00003" not in told(labelled(dfew, dfew_root, without=[entry]), "single")
    for frame in (dfew_root / "Clip/jpg_256/00003").iterdir():
        frame.unlink()
    with pytest.raises(ValueError, match="1 of the 10 videos that EmoLabel_DataSplit labels are not there: 00003"):
        labelled(dfew, dfew_root)


def test_dfew_is_read_in_one_form_and_never_as_sixteen_frames(dfew_root: Path) -> None:
    touch(dfew_root, "Clip/jpg_224_16f/00001/1.jpg", "Clip/clip_224x224_16f/00001/1.jpg")
    touch(dfew_root, *(f"Clip/original/part_1/{number}.mp4" for number in range(1, 12)))
    uris = labelled(dfew, dfew_root).table["uri"].to_pylist()
    assert len(uris) == 11 and all(uri.startswith("Clip/jpg_256/") for uri in uris)
    (dfew_root / "Clip/jpg_256").rename(dfew_root / "Clip/elsewhere")
    assert told(labelled(dfew, dfew_root), "single")["Clip/original/part_1/7.mp4"] == ("Fear", "2")
    touch(dfew_root, "Clip/original/part_2/7.mp4")
    with pytest.raises(ValueError, match="Clip/original/part_2/7.mp4"):
        labelled(dfew, dfew_root)


# FERV39k

FERV_LISTS = {
    "4_setups/All_scenes/train_All.csv": "Action/Sad/0010 Sad\nTalk/Happy/0010 Happy\n",
    "4_setups/All_scenes/test_All.csv": "Action/Fear/0002 Fear\n",
}


@pytest.fixture
def ferv_root(tmp_path: Path) -> Path:
    clips = ("Action/Sad/0010", "Talk/Happy/0010", "Action/Fear/0002")
    touch(tmp_path, *(f"2_ClipsforFaceCrop/{clip}/{frame}.jpg" for clip in clips for frame in ("001", "002")))
    write(tmp_path, FERV_LISTS)
    return tmp_path


def test_a_ferv39k_clip_has_emotion_part_and_scene(ferv_root: Path) -> None:
    touch(ferv_root, "2_ClipsforFaceCrop/Talk/Happy/0011/001.jpg")
    found = labelled(ferv39k, ferv_root)
    assert found.protocols[0].classes.index("Neutral") == 2 and found.protocols[0].official == 38_935
    assert told(found, "all_scenes") == {
        "2_ClipsforFaceCrop/Action/Sad/0010": ("Sad", "train"),
        "2_ClipsforFaceCrop/Talk/Happy/0010": ("Happy", "train"),
        "2_ClipsforFaceCrop/Action/Fear/0002": ("Fear", "test"),
    }
    assert found.table["split"].to_pylist() == ["test", "train", "train", "all"]
    assert attribute_values(found.table["attributes"], "scene") == ["Action", "Action", "Talk", "Talk"]


@pytest.mark.parametrize(
    ("train", "problem"),
    [
        ("Action/Sad/0010 Happy", "another emotion than the folder for Action/Sad/0010"),
        ("Action/Angst/0010 Angst", "unknown class 'Angst'; there are Happy, Sad"),
        ("Action/Fear/0002 Fear", "Action/Fear/0002 are in the lists of train and test"),
        ("Action/Sad/0010 Sad\nAction/Sad/0010 Sad", "lists Action/Sad/0010 more than once"),
        ("Action/Sad/0010", "'Action/Sad/0010' is not a clip, a space and its label"),
        ("Action/Sad/0011 Sad", "not there: 2_ClipsforFaceCrop/Action/Sad/0011"),
        ("", "train_All.csv is empty"),
    ],
)
def test_a_ferv39k_list_that_cannot_be_right_is_refused(ferv_root: Path, train: str, problem: str) -> None:
    touch(ferv_root, "2_ClipsforFaceCrop/Action/Angst/0010/001.jpg")
    write(ferv_root, {"4_setups/All_scenes/train_All.csv": train})
    with pytest.raises(ValueError, match=problem):
        labelled(ferv39k, ferv_root)


def test_a_withdrawn_ferv39k_clip_may_stay_listed(ferv_root: Path) -> None:
    found = labelled(ferv39k, ferv_root, without=["Action/Sad/0010"])
    assert len(told(found, "all_scenes")) == 2
    (ferv_root / "4_setups/All_scenes/test_All.csv").unlink()
    with pytest.raises(ValueError, match="test_All.csv is missing"):
        labelled(ferv39k, ferv_root)


# MAFW: five clips, one in each fold.

MAFW_SINGLE = {"00025": "anger", "00026": "disappointment", "00027": "neutral", "00028": "fear", "00029": "anxiety"}
MAFW_COMPOUND = MAFW_SINGLE | {"00026": "anger_disgust", "00028": "surprise_anxiety"}


def mafw_lists(name: str, labels: Mapping[str, str], *, root: str = "split") -> dict[str, str]:
    def text(clips: Collection[str]) -> str:
        return "".join(f"{clip}.mp4 {labels[clip]}\n" for clip in clips)

    lists = {}
    for fold, tested in enumerate(labels, 1):
        lists[f"{root}/{name}/no_caption/set_{fold}/test.txt"] = text([tested])
        lists[f"{root}/{name}/no_caption/set_{fold}/train.txt"] = text([clip for clip in labels if clip != tested])
    return lists


@pytest.fixture
def mafw_root(tmp_path: Path) -> Path:
    touch(tmp_path, *(f"data/frames/{clip}/{frame:04d}.png" for clip in [*MAFW_SINGLE, "00099"] for frame in (1, 2)))
    return tmp_path


def test_a_mafw_clip_has_a_single_and_a_compound_emotion(mafw_root: Path) -> None:
    write(mafw_root, mafw_lists("single", MAFW_SINGLE) | mafw_lists("compound", MAFW_COMPOUND))
    found = labelled(mafw, mafw_root)
    assert [len(protocol.classes) for protocol in found.protocols] == [11, 43]
    assert told(found, "single")["data/frames/00026"] == ("disappointment", "2")
    assert told(found, "compound")["data/frames/00026"] == ("anger_disgust", "2")
    assert told(found, "compound")["data/frames/00028"] == ("surprise_anxiety", "4")
    assert "data/frames/00099" not in told(found, "single")


def test_mafw_compounds_are_named_by_single_emotions_in_order() -> None:
    assert list(mafw.COMPOUNDS) == sorted(mafw.COMPOUNDS) and len(mafw.COMPOUNDS) == 32
    for name in mafw.COMPOUNDS:
        parts = [mafw.CLASSES.index(part) for part in name.split("_")]
        assert parts == sorted(set(parts)) and len(parts) > 1


def test_mafw_as_released_has_its_lists_and_clips_elsewhere(tmp_path: Path) -> None:
    touch(tmp_path, *(f"clips/{clip}.mp4" for clip in MAFW_SINGLE))
    write(tmp_path, mafw_lists("single", MAFW_SINGLE, root="Train & Test Set"))
    found = labelled(mafw, tmp_path)
    assert [protocol.name for protocol in found.protocols] == ["single"]
    assert told(found, "single")["clips/00029.mp4"] == ("anxiety", "5")


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (MAFW_SINGLE | {"00025": "rage"}, "split/single has the unknown class 'rage'"),
        ({**dict(list(MAFW_SINGLE.items())[:4]), "00030": "fear"}, "split/single labels are not there: 00030"),
    ],
)
def test_a_mafw_list_that_does_not_fit_the_corpus_is_refused(
    mafw_root: Path, labels: dict[str, str], problem: str
) -> None:
    write(mafw_root, mafw_lists("single", labels))
    with pytest.raises(ValueError, match=problem):
        labelled(mafw, mafw_root)


def test_a_list_that_is_no_text_is_refused(mafw_root: Path) -> None:
    write(mafw_root, mafw_lists("single", MAFW_SINGLE))
    (mafw_root / "split/single/no_caption/set_1/test.txt").write_bytes(b"00025.mp4 anger \xc4\xe3")
    with pytest.raises(ValueError, match="set_1/test.txt is no UTF-8 text"):
        labelled(mafw, mafw_root)


def test_a_mafw_clip_in_two_folds_or_without_lists_is_refused(mafw_root: Path) -> None:
    with pytest.raises(ValueError, match="split/single/no_caption/set_1/train.txt is missing"):
        labelled(mafw, mafw_root)
    write(mafw_root, mafw_lists("single", MAFW_SINGLE))
    assert len(told(labelled(mafw, mafw_root, without=["00025"]), "single")) == 4
    write(mafw_root, {"split/single/no_caption/set_5/test.txt": "00029.mp4 anxiety\n00025.mp4 anger\n"})
    with pytest.raises(ValueError, match="00025 are in the test lists of set 1 and 5"):
        labelled(mafw, mafw_root)


@pytest.mark.parametrize(
    ("corpus", "name"),
    [
        ("dfew", "Clip/jpg_256/00001.jpg"),
        ("dfew", "Clip/original/audio/1.wav"),
        ("dfew", "EmoLabel_DataSplit/test(single-labeled)/set_1.csv"),
        ("ferv39k", "2_ClipsforFaceCrop/Action/Sad/0010/.001.jpg"),
        ("ferv39k", "2_ClipsforFaceCrop/Action/0010/001.jpg"),
        ("mafw", "data/audio_16k/00025.wav"),
        ("mafw", "data/frames/00025/more/1.png"),
    ],
)
def test_other_files_of_these_corpora_are_no_videos(corpus: str, name: str) -> None:
    assert find_labelled(corpus).parse(name) is None
