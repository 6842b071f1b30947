from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from pipelines.corpora import crema_d, enterface05, mead, ravdess
from pipelines.corpora.registry import Labelled
from pipelines.labels import attribute_values, check_labels, label_rows
from pipelines.storage import Storage
from pipelines.takes import subject_folds
from tests.pipelines.listed_table import listed_table

ACTORS_OF_CREMA_D = range(1001, 1092)
FRAME = "0001.jpg"


def crema_d_files() -> list[str]:
    return [f"VideoFlash/{actor}_IEO_{emotion}_XX.flv" for actor in ACTORS_OF_CREMA_D for emotion in crema_d.CLASSES]


def ravdess_files() -> list[str]:
    return [
        f"Actor_{actor:02d}/02-01-{emotion:02d}-{intensity:02d}-{statement:02d}-{repetition:02d}-{actor:02d}.mp4"
        for actor in range(1, 25)
        for emotion in range(1, 9)
        for intensity in (1, 2)
        for statement in (1, 2)
        for repetition in (1, 2)
        if emotion > 1 or intensity == 1
    ]


def enterface05_files() -> list[str]:
    return [
        f"subject {number}/{emotion}/sentence {sentence}/s{number}_{emotion[:2]}_{sentence}.avi"
        for number in range(1, 45)
        for emotion in enterface05.CLASSES
        for sentence in range(1, 6)
        if number != 6 and (number != 23 or emotion != "happiness" or sentence > 3)
    ]


def labelled(corpus: ModuleType, names: list[str], storage: Storage) -> Labelled:
    found = corpus.label(corpus.settle(listed_table(corpus, names)), storage, ())
    check_labels(found.table, found.protocols)
    return found


def by_part(found: Labelled, protocol: int = 0) -> dict[str, list[str]]:
    """Subjects by part."""
    row_N, _, part_N = label_rows(found.table["labels"], found.protocols[protocol])
    subjects = found.table["subject"].to_pylist()
    return {part: sorted({subjects[row] for row in row_N[part_N == part]}) for part in found.protocols[protocol].parts}


def class_of(found: Labelled, uri: str) -> str:
    row_N, target_NK, _ = label_rows(found.table["labels"], found.protocols[0])
    row = row_N.tolist().index(found.table["uri"].to_pylist().index(uri))
    assert target_NK[row].sum() == 1
    return found.protocols[0].classes[target_NK[row].argmax()]


def attributes_of(found: Labelled, uri: str) -> dict[str, str]:
    pairs = found.table["attributes"].to_pylist()[found.table["uri"].to_pylist().index(uri)]
    return {pair["name"]: pair["value"] for pair in pairs}


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path)


@pytest.mark.parametrize(
    ("corpus", "frames", "file"),
    [
        (crema_d, "face_aligned/1001_IEO_ANG_HI", "VideoFlash/1001_IEO_ANG_HI.flv"),
        (ravdess, "face_aligned/Actor_02/02-01-05-02-01-01-02", "Actor_02/02-01-05-02-01-01-02.mp4"),
        (
            enterface05,
            "face_aligned/subject_3/fear/sentence_5/s_3_fe_5",
            "subject 3/fear/sentence 5/s_3_fe_5.avi",
        ),
    ],
)
def test_frames_and_files_tell_the_same_and_must_not_both_be_there(
    corpus: ModuleType, frames: str, file: str, storage: Storage
) -> None:
    of_frames, of_file = corpus.parse(f"{frames}/{FRAME}"), corpus.parse(file)
    assert of_frames == of_file._replace(folder=frames) and of_file.split == "all" and of_file.folder == ""
    forms = [labelled(corpus, names, storage) for names in ([f"{frames}/{FRAME}", f"{frames}/0002.jpg"], [file])]
    assert [form.table["uri"].to_pylist() for form in forms] == [[frames], [file]]
    assert forms[0].table["labels"] == forms[1].table["labels"]
    assert forms[0].table["attributes"] == forms[1].table["attributes"]
    with pytest.raises(ValueError, match="1 recordings are there more than once, the first as"):
        corpus.settle(listed_table(corpus, [f"{frames}/{FRAME}", file]))


@pytest.mark.parametrize(
    ("corpus", "name"),
    [
        (crema_d, "AudioWAV/1001_IEO_ANG_HI.wav"),
        (crema_d, "VideoFlash/._1001_IEO_ANG_HI.flv"),
        (crema_d, "processedResults/summaryTable.csv"),
        (crema_d, "face_aligned/1001.jpg"),
        (ravdess, "Actor_02/01-01-05-02-01-01-02.mp4"),
        (ravdess, "Actor_02/03-01-05-02-01-01-02.wav"),
        (ravdess, "Actor_02/02-02-05-02-01-01-02.mp4"),
        (ravdess, "Video_Song_Actor_02/Actor_02/02-02-05-02-01-01-02.mp4"),
        (ravdess, "face_aligned/Actor_02/01-01-05-02-01-01-02/0001.jpg"),
        (enterface05, "subject 3/fear/Thumbs.db"),
        (enterface05, "other/subject 3/fear/sentence 5/s3_fe_5.avi"),
    ],
)
def test_what_is_no_video_of_the_corpus_is_ignored(corpus: ModuleType, name: str) -> None:
    assert corpus.parse(name) is None


@pytest.mark.parametrize(
    ("corpus", "name", "problem"),
    [
        (crema_d, "VideoFlash/1001_IEO_ANG.flv", "does not follow VideoFlash/<actor>"),
        (crema_d, "VideoFlash/1001_IEO_JOY_XX.flv", "unknown emotion 'JOY'; there are ANG, DIS"),
        (crema_d, "VideoFlash/1001_IEO_ANG_X.flv", "unknown level 'X'"),
        (crema_d, "VideoFlash/1001_ABC_ANG_XX.flv", "unknown sentence 'ABC'"),
        (crema_d, "VideoFlash/1092_IEO_ANG_XX.flv", "is of actor 1092, who is in no fold"),
        (ravdess, "Actor_02/angry.mp4", "does not follow"),
        (ravdess, "Actor_02/02-01-09-01-01-01-02.mp4", "number beyond 02-01-08-02-02-02-24"),
        (ravdess, "Actor_02/02-01-00-01-01-01-02.mp4", "number beyond"),
        (ravdess, "Actor_02/02-01-01-02-01-01-02.mp4", "strongly neutral"),
        (ravdess, "Actor_03/02-01-02-02-01-01-02.mp4", "of actor 2 in the folder of another"),
        (enterface05, "subject 3/fear/s3_fe_5.avi", "does not follow"),
        (enterface05, "subject 3/anxiety/sentence 5/s3_fe_5.avi", "unknown emotion 'anxiety'"),
        (enterface05, "subject 3/fear/sentence 6/s3_fe_6.avi", "of sentence 6; there are 1, 2"),
        (enterface05, "subject 45/fear/sentence 1/s45_fe_1.avi", "is of person 45, who is in no fold"),
    ],
)
def test_a_misnamed_video_is_refused_by_name(corpus: ModuleType, name: str, problem: str) -> None:
    with pytest.raises(ValueError, match="1 videos are misnamed") as refusal:
        corpus.settle(listed_table(corpus, [name]))
    assert problem in str(refusal.value)


def test_crema_d_tests_five_runs_of_actors(storage: Storage) -> None:
    found = labelled(crema_d, crema_d_files(), storage)
    parts = by_part(found)
    assert [(people[0], people[-1], len(people)) for people in parts.values()] == [
        ("1001", "1018", 18), ("1019", "1036", 18), ("1037", "1054", 18), ("1055", "1072", 18), ("1073", "1091", 19),
    ]  # fmt: skip
    assert found.protocols[0].official == 7442 and found.protocols[0].metric == "uar"
    assert class_of(found, "VideoFlash/1050_IEO_NEU_XX.flv") == "NEU"


def test_crema_d_tells_people_apart_where_their_table_is_there(storage: Storage) -> None:
    names = ["VideoFlash/1001_IEO_ANG_HI.flv", "VideoFlash/1034_DFA_SAD_XX.flv"]
    assert attributes_of(labelled(crema_d, names, storage), names[0]) == {"sentence": "IEO", "level": "HI"}
    storage.write(
        crema_d.DEMOGRAPHICS,
        b'"ActorID","Age","Sex","Race","Ethnicity"\n1001,51,"Male","Caucasian","Not Hispanic"\n1034,74,"Male","",""\n',
    )
    found = labelled(crema_d, names, storage)
    assert attributes_of(found, names[0]) == {
        **{"sentence": "IEO", "level": "HI", "age": "50 to 59", "sex": "Male", "race": "Caucasian"},
        "ethnicity": "Not Hispanic",
    }
    assert attributes_of(found, names[1]) == {"sentence": "DFA", "level": "XX", "age": "60 or more", "sex": "Male"}
    with pytest.raises(ValueError, match="lacks the actors 1002"):
        labelled(crema_d, ["VideoFlash/1002_IEO_ANG_HI.flv"], storage)


@pytest.mark.parametrize("line", ["1001,old,Male,Caucasian,Hispanic", "1000,20,,,\n1000,30,,,"])
def test_a_damaged_table_of_crema_ds_people_is_refused(line: str, storage: Storage) -> None:
    storage.write(crema_d.DEMOGRAPHICS, f"ActorID,Age,Sex,Race,Ethnicity\n{line}\n".encode())
    with pytest.raises(ValueError, match="both must be numbers, and each actor there once"):
        labelled(crema_d, ["VideoFlash/1001_IEO_ANG_HI.flv"], storage)


@pytest.mark.parametrize("archive", [False, True])
def test_ravdess_tests_six_groups_of_four_actors_on_its_1440_silent_spoken_clips(
    archive: bool, storage: Storage
) -> None:
    names = [f"Video_Speech_{name.split('/')[0]}/{name}" if archive else name for name in ravdess_files()]
    found = labelled(ravdess, names + [name.replace("/02-01", "/01-01") for name in names], storage)
    assert found.table.num_rows == found.protocols[0].official == 1440
    row_N, target_NK, part_N = label_rows(found.table["labels"], found.protocols[0])
    counts = {part: target_NK[part_N == part].sum(0).tolist() for part in found.protocols[0].parts}
    assert counts == {str(part): [16.0] + [32.0] * 7 for part in range(1, 7)}
    assert by_part(found)["2"] == ["Actor_05", "Actor_06", "Actor_07", "Actor_08"]


def test_ravdess_names_tell_class_sex_and_intensity(storage: Storage) -> None:
    names = ["Actor_01/02-01-01-01-02-01-01.mp4", "Actor_24/02-01-08-02-01-02-24.mp4"]
    found = labelled(ravdess, names, storage)
    assert [class_of(found, name) for name in names] == ["neutral", "surprised"]
    assert attributes_of(found, names[0]) == {"sex": "male", "intensity": "normal"}
    assert attributes_of(found, names[1]) == {"sex": "female", "intensity": "strong"}
    twice = [f"Video_Speech_Actor_01/{names[0]}", names[0]]
    with pytest.raises(ValueError, match="more than once"):
        ravdess.settle(listed_table(ravdess, twice))


def test_enterface05_tests_five_runs_of_people_on_its_1287_clips(storage: Storage) -> None:
    found = labelled(enterface05, enterface05_files(), storage)
    assert found.table.num_rows == found.protocols[0].official == 1287
    _, _, part_N = label_rows(found.table["labels"], found.protocols[0])
    assert [(part_N == part).sum() for part in found.protocols[0].parts] == [270, 270, 267, 270, 210]
    people = [sorted(int(name.removeprefix("subject_")) for name in part) for part in by_part(found).values()]
    assert people[0] == [1, 2, 3, 4, 5, 7, 8, 9, 10] and people[4] == list(range(38, 45))


def test_enterface05s_uncut_person_must_be_excluded() -> None:
    names = ["subject 6/anger/s6_an.avi", "subject 7/anger/sentence 1/s7_an_1.avi"]
    with pytest.raises(ValueError, match="1 videos are of subject 6.*not cut into sentences.*line subject_6"):
        enterface05.settle(listed_table(enterface05, names))


def test_enterface05_goes_by_folders_where_file_names_are_wrong(storage: Storage) -> None:
    names = ["subject 11/anger/sentence 1/s12_an_1.avi", "subject 12/anger/sentence 1/s12_an_1.avi"]
    found = labelled(enterface05, names, storage)
    assert found.table["subject"].to_pylist() == ["subject_11", "subject_12"]
    assert attributes_of(found, names[0]) == {"sentence": "1"} and class_of(found, names[1]) == "anger"


def test_the_classes_are_in_the_order_of_mae_dfers_lists() -> None:
    assert [ravdess.CLASSES.index(name) for name in ("neutral", "calm", "happy", "sad", "surprised")] == [0, 1, 2, 3, 7]
    assert enterface05.CLASSES == ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
    assert crema_d.CLASSES == ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")


def mead_names() -> list[str]:
    """Every emotion at every level that there is, in every view, of seven actors."""
    return [
        f"M{actor:03d}/video/{view}/{emotion}/level_{level}/001.mp4"
        for actor in range(1, 8)
        for view in mead.VIEWS
        for emotion in mead.EMOTIONS
        for level in mead.LEVELS
        if emotion != "neutral" or level == 1
    ]


def test_meads_protocols_differ_in_level_and_in_what_becomes_of_neutral(storage: Storage) -> None:
    found = labelled(mead, mead_names(), storage)
    uris, used = found.table["uri"].to_pylist(), {}
    for protocol in found.protocols:
        row_N, target_NK, _ = label_rows(found.table["labels"], protocol)
        names = [mead.read_name(uris[row]) for row in row_N]
        assert [protocol.classes[k] for k in target_NK.argmax(1)] == [name.emotion for name in names]
        assert (protocol.metric, protocol.group_by, protocol.folds) == ("f1_macro", "view", 5)
        used[protocol.name] = ({name.level for name in names}, len(protocol.classes), len(names))
    assert used == {
        "low": ({1}, 8, 7 * 7 * 8),
        "high": ({3}, 7, 7 * 7 * 7),
        "high_with_neutral": ({1, 3}, 8, 7 * 7 * 8),
        "all": ({1, 2, 3}, 8, 7 * 7 * 22),
    }


def test_meads_folds_are_those_of_takes_in_every_protocol(storage: Storage) -> None:
    found = labelled(mead, mead_names(), storage)
    folds = subject_folds(f"M{actor:03d}" for actor in range(1, 8))
    wanted = {str(fold + 1): sorted(s for s, of in folds.items() if of == fold) for fold in range(5)}
    assert [by_part(found, index) for index in range(len(found.protocols))] == [wanted] * 4


def test_a_smaller_mead_lacks_the_protocols_that_it_has_no_video_of(storage: Storage) -> None:
    names = ["M001/video/front/sad/level_2/001.mp4", "M001/video/top/sad/level_2/001.mp4"]
    found = labelled(mead, names, storage)
    assert [protocol.name for protocol in found.protocols] == ["all"]
    assert attributes_of(found, names[1]) == {"view": "top", "level": "2", "take": "M001/sad/level_2/001"}
    assert len(set(attribute_values(found.table["attributes"], "take"))) == 1
