"""RAVDESS (Livingstone, Russo: The Ryerson Audio-Visual Database of Emotional Speech and Song, PLoS ONE 13(5), 2018).

24 actors speak two sentences in eight emotions: 60 recordings each, 1,440 together. Each take is published as video
with sound (modality 01), the same video without sound (02) and sound alone (03), and archives hold 01 and 02 side by
side. Only 02 counts here, so that no take is there twice; 01, 03 and all songs (vocal channel 02) are ignored. CC
BY-NC-SA 4.0; free to download from Zenodo, record 1188976; a commercial licence can be bought.

Folds: six of four consecutive actors, as in the lists of MAE-DFER. Attributes: sex (actors of odd number are male) and
intensity (neutral is normal only).
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

LAYOUT = (
    "[Video_Speech_Actor_<NN>/]Actor_<NN>/02-01-<emotion>-<intensity>-<statement>-<repetition>-<NN>.mp4 or "
    "face_aligned/Actor_<NN>/<the same>/*.jpg"
)
CLASSES = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
INTENSITIES = ("normal", "strong")
FOLDS = tuple(range(first, first + 4) for first in range(1, 25, 4))
PROTOCOL = EvaluationProtocol("emotions", "classes", CLASSES, folds=len(FOLDS), official=1440)

_FRAMES = re.compile(r"face_aligned/(?P<subject>Actor_\d\d)/(?P<clip>[^/]+)")
_FILE = re.compile(r"(?:Video_Speech_Actor_\d\d/)?(?P<subject>Actor_\d\d)/(?P<clip>[^/.][^/]*)\.mp4")
_CLIP = re.compile(r"\d\d(?:-\d\d){6}")
_SPOKEN_WITHOUT_SOUND = "02-01-"
_LARGEST = (2, 1, len(CLASSES), len(INTENSITIES), 2, 2, FOLDS[-1].stop - 1)


class ClipName(NamedTuple):
    """What the name of a clip says."""

    actor: int
    emotion: str
    intensity: str


def read_name(uri: str) -> ClipName:
    """Raises ValueError, saying what is wrong, for a uri that does not follow LAYOUT."""
    place = _FRAMES.fullmatch(uri) or _FILE.fullmatch(uri)
    if place is None or not _CLIP.fullmatch(place["clip"]):
        raise ValueError(f"{uri!r} does not follow {LAYOUT}")
    numbers = [int(number) for number in place["clip"].split("-")]
    if any(not 1 <= number <= largest for number, largest in zip(numbers, _LARGEST, strict=True)):
        raise ValueError(f"{uri!r} has a number beyond {'-'.join(f'{largest:02d}' for largest in _LARGEST)} or of 00")
    _, _, emotion, intensity, _, _, actor = numbers
    if place["subject"] != f"Actor_{actor:02d}":
        raise ValueError(f"{uri!r} is of actor {actor} in the folder of another")
    if emotion == 1 and intensity != 1:
        raise ValueError(f"{uri!r} is strongly neutral; neutral exists at normal intensity only")
    return ClipName(actor, CLASSES[emotion - 1], INTENSITIES[intensity - 1])


def parse(name: str) -> Labels | None:
    uri, folder = place_of(name)
    match = (_FRAMES if folder else _FILE).fullmatch(uri)
    if match is None or (_CLIP.fullmatch(match["clip"]) and not match["clip"].startswith(_SPOKEN_WITHOUT_SOUND)):
        return None
    return Labels("all", match["subject"], match["clip"], folder)


def settle(table: pa.Table) -> pa.Table:
    check_names(table["uri"].to_pylist(), read_name)
    check_once(table)
    return table


def label(table: pa.Table, storage: Storage, withdrawn: Collection[str]) -> Labelled:
    clips = [read_name(uri) for uri in table["uri"].to_pylist()]
    labels = [
        [Label(PROTOCOL.name, one_hot(CLASSES.index(clip.emotion), CLASSES), part_of(clip.actor, FOLDS))]
        for clip in clips
    ]
    attributes = [{"sex": "male" if clip.actor % 2 else "female", "intensity": clip.intensity} for clip in clips]
    labelled = with_labels(table, labels, attributes)
    check_subjects(labelled, PROTOCOL)
    return Labelled(labelled, (PROTOCOL,))
