"""MAFW (Liu et al.: MAFW: A Large-scale, Multi-modal, Compound Affective Database for Dynamic Facial Expression
Recognition in the Wild, ACM Multimedia 2022).

10,045 clips of films, series and short videos, labelled by eleven people. For non-commercial research only, free for
people of a university: a signed agreement (github.com/MAFW-database/MAFW) is sent to the authors.

The face crops are folders of images, `data/frames`; where they are not there, the clips themselves are read. The lists
lie in the release's folder `Train & Test Set`, which may also be called `split`. Nobody knows who is in a clip, so that
the subject is the clip itself.

Protocols, each with five official folds:

- `single`: 9,172 clips with one of eleven emotions, in the order of the annotations.
- `compound`: 8,996 clips with one of those or of 32 compounds. The release does not number them; our order is the
  eleven as in `single`, then the compounds by name. It is there where its lists are.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING

from pipelines.corpora.clip_names import check_clips, one_form, parse_clip
from pipelines.corpora.lists import Assigned, class_target, merge_folds, read_pairs
from pipelines.corpora.registry import Labelled, Labels
from pipelines.labels import EvaluationProtocol, Label, with_labels

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.storage import Storage

LAYOUT = "data/frames/<NNNNN>/*.png or clips/<NNNNN>.mp4"
FORMS = ("data/frames/", "clips/")
CLASSES = (
    "anger",
    "disgust",
    "fear",
    "happiness",
    "neutral",
    "sadness",
    "surprise",
    "contempt",
    "anxiety",
    "helplessness",
    "disappointment",
)
COMPOUNDS = (
    "anger_anxiety",
    "anger_disgust",
    "anger_disgust_anxiety",
    "anger_disgust_contempt",
    "anger_helplessness",
    "anger_sadness",
    "anger_surprise",
    "anxiety_helplessness",
    "anxiety_helplessness_disappointment",
    "disgust_anxiety",
    "disgust_anxiety_helplessness",
    "disgust_contempt",
    "disgust_disappointment",
    "disgust_helplessness",
    "disgust_helplessness_disappointment",
    "disgust_sadness",
    "disgust_surprise",
    "fear_anxiety",
    "fear_sadness",
    "fear_sadness_anxiety",
    "fear_surprise",
    "fear_surprise_anxiety",
    "happiness_contempt",
    "happiness_surprise",
    "helplessness_disappointment",
    "sadness_anxiety",
    "sadness_anxiety_helplessness",
    "sadness_disappointment",
    "sadness_helplessness",
    "sadness_helplessness_disappointment",
    "sadness_surprise",
    "surprise_anxiety",
)
FOLDS = 5
SINGLE = EvaluationProtocol("single", "classes", CLASSES, folds=FOLDS, official=9_172)
COMPOUND = EvaluationProtocol("compound", "classes", CLASSES + COMPOUNDS, folds=FOLDS, official=8_996)

_LISTS = ("split", "Train & Test Set")
_CLIP = re.compile(r"data/frames/(?P<frames>\d{5})|clips/(?P<file>\d{5})\.mp4")


def clip_of(uri: str) -> str | None:
    """The number of a clip, five digits."""
    match = _CLIP.fullmatch(uri)
    return match["frames"] or match["file"] if match else None


def parse(name: str) -> Labels | None:
    return parse_clip(name, clip_of)


def settle(table: pa.Table) -> pa.Table:
    return one_form(table, FORMS)


def label(table: pa.Table, storage: Storage, withdrawn: Collection[str]) -> Labelled:
    root = next((root for root in _LISTS if storage.exists(_list_name(root, SINGLE, 1, "train"))), _LISTS[0])
    protocols = [SINGLE]
    if storage.exists(_list_name(root, COMPOUND, 1, "train")):
        protocols.append(COMPOUND)
    labels: list[list[Label]] = [[] for _ in range(table.num_rows)]
    for protocol in protocols:
        clips, source = _read_lists(storage, root, protocol), f"{root}/{protocol.name}"
        check_clips(clips, table, withdrawn, clip_of=clip_of, source=source)
        for of_clip, clip in zip(labels, table["video"].to_pylist(), strict=True):
            if clip in clips:
                target = class_target(clips[clip].label, protocol.classes, source=source)
                of_clip.append(Label(protocol.name, target, clips[clip].part))
    return Labelled(with_labels(table, labels), tuple(protocols))


def _read_lists(storage: Storage, root: str, protocol: EvaluationProtocol) -> dict[str, Assigned]:
    def read(fold: int, part: str) -> dict[str, str]:
        name = _list_name(root, protocol, fold, part)
        return {file.removesuffix(".mp4"): label for file, label in read_pairs(storage, name).items()}

    sets = [(read(fold + 1, "train"), read(fold + 1, "test")) for fold in range(FOLDS)]
    return merge_folds(sets, source=f"{root}/{protocol.name}")


def _list_name(root: str, protocol: EvaluationProtocol, fold: int, part: str) -> str:
    return f"{root}/{protocol.name}/no_caption/set_{fold}/{part}.txt"
