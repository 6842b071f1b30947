"""CREMA-D (Cao et al.: CREMA-D: Crowd-sourced Emotional Multimodal Actors Dataset, IEEE Transactions on Affective
Computing 5(4), 2014).

7,442 clips of 91 actors who say twelve sentences in six emotions, one of the sentences at three levels. The class is
the emotion that was acted, not the one that raters saw. Open Database License 1.0; the files are in the public
repository CheyneyComputerScience/CREMA-D (Git LFS), whose authors ask users to fill in a form.

Folds: five runs of consecutive actors, as in the lists of MAE-DFER. Four clips are broken (HiCMAE leaves them out; the
official number counts them); to leave them out too, put these lines into the exclusion list:

    1064/1064_IEO_DIS_MD
    1064/1064_TIE_SAD_XX
    1076/1076_MTI_NEU_XX
    1076/1076_MTI_SAD_XX

Attributes: sentence and level; where the official VideoDemographics.csv lies in the root also sex, age (decades), race
and ethnicity of the actor.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from pipelines.corpora.layout import check_names, check_once, part_of, place_of
from pipelines.corpora.lists import read_csv
from pipelines.corpora.registry import Labelled, Labels
from pipelines.labels import EvaluationProtocol, Label, check_subjects, listed, one_hot, with_labels

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.storage import Storage

LAYOUT = "VideoFlash/<actor>_<sentence>_<emotion>_<level>.flv or face_aligned/<the same>/*.jpg"
CLASSES = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
LEVELS = ("LO", "MD", "HI", "XX")
"""XX: not told how strongly."""
SENTENCES = ("IEO", "TIE", "IOM", "IWW", "TAI", "MTI", "IWL", "ITH", "DFA", "ITS", "TSI", "WSI")
FOLDS = (range(1001, 1019), range(1019, 1037), range(1037, 1055), range(1055, 1073), range(1073, 1092))
PROTOCOL = EvaluationProtocol("emotions", "classes", CLASSES, folds=len(FOLDS), official=7442)
DEMOGRAPHICS = "VideoDemographics.csv"

_FRAMES = re.compile(r"face_aligned/(?P<clip>[^/]+)")
_FILE = re.compile(r"VideoFlash/(?P<clip>[^/.][^/]*)\.flv")
_CLIP = re.compile(r"(?P<actor>\d{4})_(?P<sentence>[A-Z]+)_(?P<emotion>[A-Z]+)_(?P<level>[A-Z]+)")
_COLUMNS = ("ActorID", "Age", "Sex", "Race", "Ethnicity")
_OLD = 60  # six actors are older: too few for decades of their own


class ClipName(NamedTuple):
    """What the name of a clip says."""

    actor: int
    sentence: str
    emotion: str
    level: str


def read_name(uri: str) -> ClipName:
    """Raises ValueError, saying what is wrong, for a uri that does not follow LAYOUT."""
    place = _FRAMES.fullmatch(uri) or _FILE.fullmatch(uri)
    match = _CLIP.fullmatch(place["clip"]) if place else None
    if match is None:
        raise ValueError(f"{uri!r} does not follow {LAYOUT}")
    found = ClipName(int(match["actor"]), match["sentence"], match["emotion"], match["level"])
    for kind, value, known in (
        ("sentence", found.sentence, SENTENCES),
        ("emotion", found.emotion, CLASSES),
        ("level", found.level, LEVELS),
    ):
        if value not in known:
            raise ValueError(f"{uri!r} has the unknown {kind} {value!r}; there are {', '.join(known)}")
    if not any(found.actor in fold for fold in FOLDS):
        raise ValueError(f"{uri!r} is of actor {found.actor}, who is in no fold")
    return found


def parse(name: str) -> Labels | None:
    uri, folder = place_of(name)
    match = (_FRAMES if folder else _FILE).fullmatch(uri)
    return Labels("all", match["clip"].partition("_")[0], match["clip"], folder) if match else None


def settle(table: pa.Table) -> pa.Table:
    check_names(table["uri"].to_pylist(), read_name)
    check_once(table)
    return table


def label(table: pa.Table, storage: Storage, withdrawn: Collection[str]) -> Labelled:
    clips = [read_name(uri) for uri in table["uri"].to_pylist()]
    people = demographics(storage)
    if people and (unknown := sorted({str(clip.actor) for clip in clips if clip.actor not in people})):
        raise ValueError(f"{DEMOGRAPHICS} lacks the actors {listed(unknown)}; take the official file, or none")
    labels = [
        [Label(PROTOCOL.name, one_hot(CLASSES.index(clip.emotion), CLASSES), part_of(clip.actor, FOLDS))]
        for clip in clips
    ]
    attributes = [{"sentence": clip.sentence, "level": clip.level} | people.get(clip.actor, {}) for clip in clips]
    labelled = with_labels(table, labels, attributes)
    check_subjects(labelled, PROTOCOL)
    return Labelled(labelled, (PROTOCOL,))


def demographics(storage: Storage) -> dict[int, dict[str, str]]:
    """Attributes by actor, none where the file is not there. Raises ValueError, naming the actor, for a damaged one."""
    people: dict[int, dict[str, str]] = {}
    for row in read_csv(storage, DEMOGRAPHICS, _COLUMNS) if storage.exists(DEMOGRAPHICS) else ():
        actor, age = row["ActorID"], row["Age"]
        if not (actor.isdecimal() and age.isdecimal()) or int(actor) in people:
            raise ValueError(
                f"{DEMOGRAPHICS}: actor {actor!r} of age {age!r}: both must be numbers, and each actor there once"
            )
        told = {"age": age_group(int(age)), "sex": row["Sex"], "race": row["Race"], "ethnicity": row["Ethnicity"]}
        people[int(actor)] = {name: value for name, value in told.items() if value}
    return people


def age_group(years: int) -> str:
    """Decades up to 59, then all."""
    return f"{_OLD} or more" if years >= _OLD else f"{years // 10 * 10} to {years // 10 * 10 + 9}"
