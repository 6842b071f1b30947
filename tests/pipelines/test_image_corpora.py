"""Corpora of face images: names as they come, in folders and archives, and trees of small files with their lists."""

from __future__ import annotations

import io
from pathlib import Path
from types import ModuleType
from typing import get_args

import numpy as np
import pytest

from pipelines.corpora import affectnet, casia_webface, celeba, fer2013, fer_plus, imdb_wiki, raf_db
from pipelines.corpora.image_names import HELD_OUT_SHARE, as_folder, split_of
from pipelines.corpora.registry import CorpusName, ImageName, LabelledImageName, find, find_labelled
from tests.pipelines.labelled_tree import labelled, targets, told, touch, write
from tests.pipelines.listed_table import listed_table

HASH = "737db2483489148d783ef278f43f486c0a97e140fc4b6b61b84363ca"


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("Img/img_align_celeba.zip/img_align_celeba/000001.jpg", "Img/img_align_celeba/000001.jpg"),
        ("Img/img_align_celeba.zip/000001.jpg", "Img/img_align_celeba/000001.jpg"),
        ("x.TAR/y.zip/y/1.jpg", "x/y/1.jpg"),
        ("x.zip/x/x/1.jpg", "x/x/1.jpg"),
        ("x/x/1.jpg", "x/x/1.jpg"),
        ("part.1.tar/1.jpg", "part.1/1.jpg"),
        (".zip/1.jpg", ".zip/1.jpg"),
        ("zip/1.jpg", "zip/1.jpg"),
    ],
)
def test_an_archive_is_the_folder_that_it_holds(name: str, folder: str) -> None:
    assert as_folder(name) == folder


@pytest.mark.parametrize(
    ("corpus", "name", "split", "subject", "video"),
    [
        (affectnet, "train_set/images/17.jpg", "dev", "train_set/17", "train_set/17"),
        (affectnet, "val_set.tar/val_set/images/17.jpg", "test", "val_set/17", "val_set/17"),
        (affectnet, f"Manually_Annotated_Images/689/{HASH}.JPG", "dev", f"689/{HASH}.JPG", f"689/{HASH}.JPG"),
        (affectnet, f"Automatically_Annotated_Images/1/{HASH}.png", "dev", f"1/{HASH}.png", f"1/{HASH}.png"),
        (casia_webface, "0000045/001.jpg", "dev", "0000045", "001"),
        (casia_webface, "CASIA-WebFace.zip/CASIA-WebFace/0000045/001.jpg", "dev", "0000045", "001"),
        (celeba, "img_align_celeba/000001.jpg", "all", "000001", "000001"),
        (celeba, "Img/img_align_celeba.zip/img_align_celeba/202599.jpg", "all", "202599", "202599"),
        (celeba, "img_align_celeba_png/000001.png", "all", "000001", "000001"),
        (imdb_wiki, "imdb_crop/01/nm0000001_rm1_1899-5-10_1968.jpg", "dev", "nm0000001", "rm1_1899-5-10_1968"),
        (
            imdb_wiki,
            "wiki_crop.tar/wiki_crop/17/10000217_1981-05-05_2009.jpg",
            "dev",
            "wiki10000217",
            "1981-05-05_2009",
        ),
        (raf_db, "basic/Image/aligned/train_00001_aligned.jpg", "dev", "train_00001", "train_00001"),
        (raf_db, "basic/Image/aligned.zip/aligned/test_0001_aligned.jpg", "test", "test_0001", "test_0001"),
        (fer2013, "train/angry/Training_3908.jpg", "dev", "train/angry/Training_3908", "train/angry/Training_3908"),
        (fer2013, "archive.zip/test/sad/im0.png", "test", "test/sad/im0", "test/sad/im0"),
        (fer_plus, "data/FER2013Train/fer0000000.png", "dev", "fer0000000", "fer0000000"),
        (fer_plus, "FER2013Valid.zip/FER2013Valid/fer0028638.png", "test", "fer0028638", "fer0028638"),
        (fer_plus, "FER2013Test/fer0032220.png", "test", "fer0032220", "fer0032220"),
    ],
)
def test_an_image_has_a_split_and_a_subject_by_its_name(
    corpus: ModuleType, name: str, split: str, subject: str, video: str
) -> None:
    assert corpus.parse(name) == (split, subject, video, "")


@pytest.mark.parametrize(
    ("corpus", "name"),
    [
        (affectnet, "train_set/annotations/17_exp.npy"),
        (affectnet, f"Manually_Annotated_Images/{HASH}.jpg"),
        (affectnet, "test_set/images/17.jpg"),
        (casia_webface, "45/001.jpg"),
        (casia_webface, "0000045/._001.jpg"),
        (casia_webface, "0000045/001.png"),
        (celeba, "img_celeba/000001.jpg"),
        (celeba, "__MACOSX/img_align_celeba/._000001.jpg"),
        (celeba, "Img/img_align_celeba.zip"),
        (imdb_wiki, "imdb/01/nm0000001_rm1_1899-5-10_1968.jpg"),
        (imdb_wiki, "imdb_crop/imdb.mat"),
        (raf_db, "basic/Image/original/train_00001.jpg"),
        (raf_db, "compound/Image/aligned/train_00001.jpg"),
        (fer2013, "train/contempt/1.png"),
        (fer2013, "fer2013.csv"),
        (fer_plus, "FER2013Train/label.csv"),
        (fer_plus, "fer0000000.png"),
    ],
)
def test_other_files_of_these_corpora_are_no_images(corpus: ModuleType, name: str) -> None:
    assert corpus.parse(name) is None


def test_every_corpus_of_images_is_known_reads_archives_and_says_its_layout() -> None:
    assert set(get_args(ImageName)) <= set(get_args(CorpusName)) and set(get_args(LabelledImageName)) <= set(
        get_args(ImageName)
    )
    for name in get_args(ImageName):
        assert find(name).READS_ARCHIVES and find(name).LAYOUT
    assert all(find_labelled(name) is not None for name in get_args(LabelledImageName))
    assert find_labelled("casia_webface") is None


def test_a_hundredth_of_the_people_is_held_out_for_good() -> None:
    held_out = [split_of(f"{person:07d}") == "test" for person in range(20_000)]
    assert abs(np.mean(held_out) - HELD_OUT_SHARE) < 0.002


@pytest.mark.parametrize(
    ("corpus", "pattern"), [(casia_webface, "{:07d}/001.jpg"), (imdb_wiki, "wiki_crop/00/{}_1981-05-05_2009.jpg")]
)
def test_somebody_is_held_out_of_the_smallest_copy_and_nobody_in_two_splits(corpus: ModuleType, pattern: str) -> None:
    table = corpus.settle(listed_table(corpus, [pattern.format(person) for person in range(100, 130)]))
    assert sorted(set(table["split"].to_pylist())) == ["dev", "test"]
    assert table["split"].to_pylist().count("test") < 5


@pytest.mark.parametrize(
    ("corpus", "copies"),
    [
        (casia_webface, ["CASIA-WebFace.zip/CASIA-WebFace/0000045/001.jpg", "CASIA-WebFace/0000045/001.jpg"]),
        (celeba, ["img_align_celeba/000001.jpg", "img_align_celeba_png/000001.png"]),
        (raf_db, ["aligned.zip/train_00001_aligned.jpg", "basic/Image/aligned/train_00001_aligned.jpg"]),
        (fer2013, ["train/sad/1.jpg", "train/sad/1.png"]),
        (fer_plus, ["FER2013Train/fer0000000.png", "data/FER2013Train/fer0000000.png"]),
        (affectnet, ["train_set.tar/train_set/images/1.jpg", "train_set/images/1.jpg"]),
        (imdb_wiki, ["imdb_crop.tar/imdb_crop/01/nm1_rm1_1_2.jpg", "imdb_crop/01/nm1_rm1_1_2.jpg"]),
    ],
)
def test_a_corpus_that_is_there_packed_and_unpacked_is_refused(corpus: ModuleType, copies: list[str]) -> None:
    with pytest.raises(ValueError, match="more than once"):
        corpus.settle(listed_table(corpus, copies))


# CelebA: three people, one in each part.

CELEBA = {"000001": ("7", "0"), "000002": ("7", "0"), "000003": ("8", "1"), "000004": ("9", "2")}


def celeba_lists(told: dict[str, tuple[str, str]] = CELEBA, *, at: tuple[str, str] = ("Anno/", "Eval/")) -> dict:
    people, parts = ("".join(f"{image}.jpg {values[k]}\n" for image, values in told.items()) for k in (0, 1))
    return {f"{at[0]}identity_CelebA.txt": people, f"{at[1]}list_eval_partition.txt": parts}


@pytest.fixture
def celeba_root(tmp_path: Path) -> Path:
    touch(tmp_path, *(f"Img/img_align_celeba/{image}.jpg" for image in CELEBA))
    return tmp_path


@pytest.mark.parametrize("at", [("Anno/", "Eval/"), ("", "")])
def test_celebas_lists_tell_people_and_parts(celeba_root: Path, at: tuple[str, str]) -> None:
    write(celeba_root, celeba_lists(at=at))
    found = labelled(celeba, celeba_root)
    assert found.protocols == ()
    assert found.table["subject"].to_pylist() == ["7", "7", "8", "9"]
    assert found.table["split"].to_pylist() == ["dev", "dev", "test", "test"]


@pytest.mark.parametrize(
    ("lists", "problem"),
    [
        ({}, "identity_CelebA.txt is missing"),
        (celeba_lists({"000001": ("7", "0")}), "lacks the images 000002, 000003, 000004"),
        (celeba_lists(CELEBA | {"000004": ("9", "3")}), "unknown parts 3"),
        (celeba_lists(CELEBA | {"000004": ("7", "2")}), "1 subjects are in more than one split: 7"),
    ],
)
def test_celeba_without_lists_that_keep_people_apart_is_refused(celeba_root: Path, lists: dict, problem: str) -> None:
    write(celeba_root, lists)
    with pytest.raises(ValueError, match=problem):
        labelled(celeba, celeba_root)


# RAF-DB


@pytest.fixture
def raf_root(tmp_path: Path) -> Path:
    touch(
        tmp_path, *(f"basic/Image/aligned/{image}_aligned.jpg" for image in ("train_00001", "train_00002", "test_0001"))
    )
    return tmp_path


RAF_LIST = "train_00001.jpg 5\ntrain_00002.jpg 7\ntest_0001.jpg 1\n"


def test_raf_db_has_the_emotions_of_its_list_and_is_tested_on_its_test_part(raf_root: Path) -> None:
    write(raf_root, {"basic/EmoLabel/list_patition_label.txt": RAF_LIST})
    found = told(labelled(raf_db, raf_root), "basic")
    assert {uri.rpartition("/")[2]: label for uri, label in found.items()} == {
        "train_00001_aligned.jpg": ("Sadness", "train"),
        "train_00002_aligned.jpg": ("Neutral", "train"),
        "test_0001_aligned.jpg": ("Surprise", "test"),
    }


def test_raf_db_without_its_list_has_images_and_no_labels(raf_root: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = labelled(raf_db, raf_root)
    assert found.protocols == () and found.table.num_rows == 3
    assert "the images have no labels" in caplog.text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("train_00001.jpg 8\n", "'8' is no label from 1 to 7"),
        (RAF_LIST + "train_00003.jpg 1\n", "not there: train_00003"),
        (RAF_LIST + "train_00001.jpg 5\n", "lists train_00001.jpg more than once"),
    ],
)
def test_a_raf_db_list_that_cannot_be_right_is_refused(raf_root: Path, text: str, problem: str) -> None:
    write(raf_root, {"EmoLabel/list_patition_label.txt": text})
    with pytest.raises(ValueError, match=problem):
        labelled(raf_db, raf_root)


def test_a_withdrawn_image_of_raf_db_may_stay_listed(raf_root: Path) -> None:
    write(raf_root, {"basic/EmoLabel/list_patition_label.txt": RAF_LIST})
    assert len(told(labelled(raf_db, raf_root, without=["test_0001"]), "basic")) == 2


# FER2013 and FER+


def test_fer2013_is_labelled_by_its_folders_and_validated_on_the_public_test_set(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "train/angry/Training_1.png",
        "test/happy/PublicTest_2.png",
        "test/sad/PrivateTest_3.png",
        "test/fear/4.png",
    )
    found = labelled(fer2013, tmp_path)
    assert told(found, "emotions") == {
        "train/angry/Training_1.png": ("angry", "train"),
        "test/happy/PublicTest_2.png": ("happy", "validation"),
        "test/sad/PrivateTest_3.png": ("sad", "test"),
        "test/fear/4.png": ("fear", "test"),
    }
    assert set(found.table["split"].to_pylist()) == {"dev", "test"}


FER_PLUS_VOTES = {
    "FER2013Train/fer0000000.png": "8,0,0,1,0,0,0,0,1,0",  # single votes do not count
    "FER2013Train/fer0000001.png": "4,0,0,4,2,0,0,0,0,0",  # nobody has more than half
    "FER2013Train/fer0000002.png": "0,0,0,0,0,0,0,4,6,0",  # unknown
    "FER2013Valid/fer0000003.png": "0,6,4,0,0,0,0,0,0,0",
    "FER2013Test/fer0000004.png": "0,0,0,0,0,0,0,6,2,2",
}
USAGE = {"FER2013Train": "Training", "FER2013Valid": "PublicTest", "FER2013Test": "PrivateTest"}


def fer_plus_list() -> dict[str, str]:
    rows = [f"{USAGE[name.split('/')[0]]},{name.split('/')[1]},{votes}" for name, votes in FER_PLUS_VOTES.items()]
    header = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    return {"fer2013new.csv": "\n".join((header, *rows, "Training,,0,0,0,0,0,0,0,0,0,10")) + "\n"}


def fer_plus_folders(*, box: str = "") -> dict[str, str]:
    lists: dict[str, str] = {}
    for name, votes in FER_PLUS_VOTES.items():
        folder, image = name.split("/")
        lists[f"data/{folder}/label.csv"] = lists.get(f"data/{folder}/label.csv", "") + f"{image},{box}{votes}\n"
    return lists


@pytest.mark.parametrize(
    "lists",
    [fer_plus_list(), fer_plus_folders(), fer_plus_folders(box='"(0, 0, 48, 48)",')],
    ids=["csv", "label", "box"],
)
def test_fer_plus_has_the_majority_and_the_shares_of_the_votes(tmp_path: Path, lists: dict[str, str]) -> None:
    touch(tmp_path, *(f"data/{name}" for name in FER_PLUS_VOTES))
    write(tmp_path, lists)
    found = labelled(fer_plus, tmp_path)
    assert told(found, "majority") == {
        "data/FER2013Train/fer0000000.png": ("neutral", "train"),
        "data/FER2013Valid/fer0000003.png": ("happiness", "validation"),
        "data/FER2013Test/fer0000004.png": ("contempt", "test"),
    }
    assert targets(found, "votes") == {
        "data/FER2013Train/fer0000000.png": [1, 0, 0, 0, 0, 0, 0, 0],
        "data/FER2013Valid/fer0000003.png": [0, 0.6, 0.4, 0, 0, 0, 0, 0],
        "data/FER2013Test/fer0000004.png": [0, 0, 0, 0, 0, 0, 0, 1],
    }


@pytest.mark.parametrize("votes", [(5, 5, *[0] * 8), (0,) * 10, (1,) * 10, (3, 0, 0, 0, 0, 0, 0, 0, 3, 0)])
def test_fer_plus_images_on_which_people_do_not_agree_have_no_label(votes: tuple[int, ...]) -> None:
    assert fer_plus.agreed(votes) is None


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("fer0000000.png,1,2", "must be an image and ten numbers"),
        ("fer0000000.png,a,0,0,0,0,0,0,0,0,0", "must be an image and ten numbers"),
        ("fer0000009.png,9,0,0,0,0,0,0,0,0,0", "not there: fer0000009"),
    ],
)
def test_fer_plus_votes_that_cannot_be_right_are_refused(tmp_path: Path, line: str, problem: str) -> None:
    touch(tmp_path, "FER2013Train/fer0000000.png")
    write(tmp_path, {"FER2013Train/label.csv": f"{line}\n"})
    with pytest.raises(ValueError, match=problem):
        labelled(fer_plus, tmp_path)


# AffectNet


def annotate(root: Path, image: str, **values: object) -> None:
    place, _, number = image.rpartition("/")
    for kind, value in values.items():
        content = io.BytesIO()
        np.save(content, np.array(value))
        path = root / place / "annotations" / f"{number}_{kind}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.getvalue())


def test_affectnet_of_eight_labels_has_expression_and_affect_of_the_files_beside_the_images(tmp_path: Path) -> None:
    touch(tmp_path, "train_set/images/0.jpg", "train_set/images/5.jpg", "val_set/images/1.jpg")
    annotate(tmp_path, "train_set/0", exp="1", val="0.785714", aro="-0.055556")
    annotate(tmp_path, "train_set/5", exp=7, val=-2.0, aro=-2.0)
    annotate(tmp_path, "val_set/1", exp="6", val="-0.5", aro="0.5")
    found = labelled(affectnet, tmp_path)
    assert told(found, "expressions") == {
        "train_set/images/0.jpg": ("Happy", "train"),
        "train_set/images/5.jpg": ("Contempt", "train"),
        "val_set/images/1.jpg": ("Anger", "test"),
    }
    assert targets(found, "valence_arousal") == {
        "train_set/images/0.jpg": [0.785714, -0.055556],
        "val_set/images/1.jpg": [-0.5, 0.5],
    }
    assert found.table["split"].to_pylist() == ["dev", "dev", "test"]


def test_affectnet_with_annotations_of_some_images_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train_set/images/0.jpg", "train_set/images/5.jpg")
    annotate(tmp_path, "train_set/0", exp="1", val="0", aro="0")
    with pytest.raises(ValueError, match="a label is missing: .*5_exp.npy"):
        labelled(affectnet, tmp_path)


AFFECTNET_HEADER = ",".join(affectnet.COLUMNS)
AFFECTNET_LISTS = {
    "training.csv": f"{AFFECTNET_HEADER}\n1/a.jpg,0,0,9,9,1.5;2.5,1,0.5,0.25\n1/b.png,0,0,9,9,1;2,9,-2,-2\n",
    "validation.csv": "2/c.jpg,0,0,9,9,1;2,4,-0.5,0.75\n2/d.jpg,0,0,9,9,1;2,8,0.1,0.2\n",
}


@pytest.mark.parametrize("place", ["", "Manually_Annotated_file_lists/"])
def test_the_full_affectnet_is_split_by_its_lists_of_which_one_has_no_header(tmp_path: Path, place: str) -> None:
    images = "Manually_Annotated_Images"
    touch(tmp_path, *(f"{images}/{image}" for image in ("1/a.jpg", "1/b.png", "2/c.jpg", "2/d.jpg")))
    touch(tmp_path, "Automatically_Annotated_Images/1/e.jpg")
    write(tmp_path, {f"{place}{name}": text for name, text in AFFECTNET_LISTS.items()})
    found = labelled(affectnet, tmp_path)
    assert told(found, "expressions") == {
        f"{images}/1/a.jpg": ("Happy", "train"),
        f"{images}/2/c.jpg": ("Fear", "test"),
    }
    assert targets(found, "valence_arousal") == {
        f"{images}/1/a.jpg": [0.5, 0.25],
        f"{images}/2/c.jpg": [-0.5, 0.75],
        f"{images}/2/d.jpg": [0.1, 0.2],
    }
    assert found.table["split"].to_pylist() == ["dev", "dev", "dev", "test", "test"]


def test_affectnet_without_annotations_has_images_and_no_labels(tmp_path: Path) -> None:
    touch(tmp_path, *(f"Manually_Annotated_Images/1/{number}.jpg" for number in range(30)))
    found = labelled(affectnet, tmp_path)
    assert found.protocols == () and set(found.table["split"].to_pylist()) == {"dev", "test"}


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"validation.csv": None}, "validation.csv of AffectNet is missing"),
        ({"validation.csv": "1/a.jpg,0,0,9,9,1;2,4,0,0\n"}, "lists 1/a.jpg more than once"),
        ({"validation.csv": "1/z.jpg,0,0,9,9,1;2,4,0,0\n"}, "not there: 1/z.jpg"),
        ({"validation.csv": "1/b.jpg,0,0,9,9,1;2,11,0,0\n"}, "an image of expression 11; there are 0 to 10"),
    ],
)
def test_lists_of_affectnet_that_cannot_be_right_are_refused(tmp_path: Path, changed: dict, problem: str) -> None:
    touch(tmp_path, *(f"Manually_Annotated_Images/1/{image}.jpg" for image in "ab"))
    lists = {"training.csv": f"{AFFECTNET_HEADER}\n1/a.jpg,0,0,9,9,1;2,1,0,0\n"} | changed
    write(tmp_path, {name: text for name, text in lists.items() if text is not None})
    with pytest.raises(ValueError, match=problem):
        labelled(affectnet, tmp_path)
