"""eNTERFACE'05 (Martin, Kotsia, Macq, Pitas: The eNTERFACE'05 Audio-Visual Emotion Database, ICDE Workshops 2006).

43 people react in five English sentences to each of six emotional stories: 1,287 clips, for three of subject 23 are
missing. The archive has a folder of a 44th, subject 6, whose recordings are not cut into sentences, one of a minute or
two per emotion. The protocol leaves that person out, and so must an exclusion list, by the line `subject_6`: a corpus
that holds these videos is refused.

The folders tell person, emotion and sentence. File names do not: some are mistyped, and all of subject 11 are named
s12. Free for research; download from the database's page, enterface.net/enterface05. Folds: five runs of consecutive
people, as in the lists of MAE-DFER. Attribute: sentence.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from pipelines.corpora.layout import check_names, check_once, part_of, place_of
from pipelines.corpora.registry import Labelled, Labels
from pipelines.labels import EvaluationProtocol, Label, check_subjects, one_hot, with_labels

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.storage import Storage

LAYOUT = "subject <N>/<emotion>/sentence <K>/*.avi or face_aligned/subject_<N>/<emotion>/sentence_<K>/<clip>/*.jpg"
CLASSES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
UNCUT = "subject_6"
SENTENCES = range(1, 6)
FOLDS = ((*range(1, 6), *range(7, 11)), range(11, 20), range(20, 29), range(29, 38), range(38, 45))
PROTOCOL = EvaluationProtocol("emotions", "classes", CLASSES, folds=len(FOLDS), official=1287)

_FRAMES = re.compile(r"face_aligned/subject_(?P<number>\d+)/(?P<rest>.+)")
_FILE = re.compile(r"subject (?P<number>\d+)/(?P<rest>(?:[^/]+/)*[^/.][^/]*\.(?i:avi))")
_CLIP = re.compile(r"(?P<emotion>[^/]+)/sentence[ _](?P<sentence>\d+)/[^/]+")


class ClipName(NamedTuple):
    """What the folders of a clip say."""

    number: int
    """Of the person."""
    emotion: str
    sentence: int


def read_name(uri: str) -> ClipName:
    """Raises ValueError, saying what is wrong, for a uri that does not follow LAYOUT."""
    place = _FRAMES.fullmatch(uri) or _FILE.fullmatch(uri)
    match = _CLIP.fullmatch(place["rest"]) if place else None
    if match is None:
        raise ValueError(f"{uri!r} does not follow {LAYOUT}")
    found = ClipName(int(place["number"]), match["emotion"], int(match["sentence"]))
    if found.emotion not in CLASSES:
        raise ValueError(f"{uri!r} has the unknown emotion {found.emotion!r}; there are {', '.join(CLASSES)}")
    if found.sentence not in SENTENCES:
        raise ValueError(f"{uri!r} is of sentence {found.sentence}; there are {', '.join(map(str, SENTENCES))}")
    if not any(found.number in fold for fold in FOLDS):
        raise ValueError(f"{uri!r} is of person {found.number}, who is in no fold")
    return found


def parse(name: str) -> Labels | None:
    uri, folder = place_of(name)
    match = (_FRAMES if folder else _FILE).fullmatch(uri)
    if match is None:
        return None
    clip = _CLIP.fullmatch(match["rest"])
    video = f"{clip['emotion']}/sentence_{clip['sentence']}" if clip else match["rest"]
    return Labels("all", f"subject_{int(match['number'])}", video, folder)


def settle(table: pa.Table) -> pa.Table:
    if uncut := table["subject"].to_pylist().count(UNCUT):
        raise ValueError(
            f"{uncut} videos are of subject 6, whose recordings are not cut into sentences and whom the protocol "
            f"leaves out; put the line {UNCUT} into the exclusion list"
        )
    check_names(table["uri"].to_pylist(), read_name)
    check_once(table)
    return table


def label(table: pa.Table, storage: Storage, withdrawn: Collection[str]) -> Labelled:
    clips = [read_name(uri) for uri in table["uri"].to_pylist()]
    labels = [
        [Label(PROTOCOL.name, one_hot(CLASSES.index(clip.emotion), CLASSES), part_of(clip.number, FOLDS))]
        for clip in clips
    ]
    labelled = with_labels(table, labels, [{"sentence": str(clip.sentence)} for clip in clips])
    check_subjects(labelled, PROTOCOL)
    return Labelled(labelled, (PROTOCOL,))
