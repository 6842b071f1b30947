"""FERV39k (Wang et al.: FERV39k: A Large-Scale Multi-Scene Dataset for Facial Expression Recognition in Videos, CVPR
2022).

38,935 clips from 22 scenes (daily life, films, talk shows, ...), 31,088 to train and 7,847 to test, with one of seven
emotions each. For non-commercial research only, free for people of a university: the archives are public and locked,
the authors (github.com/wangyanckxx/FERV39k) send the password on request from a university address.

The order of the classes is that of MAE-DFER, as in DFEW; other repositories count them alphabetically. Nobody knows who
is in a clip, so that the subject is the clip itself. The scene is an attribute.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from pipelines.corpora.clip_names import parse_clip
from pipelines.corpora.layout import check_once
from pipelines.corpora.lists import Assigned, class_target, merge_parts, read_pairs, replaced
from pipelines.corpora.registry import Labelled, Labels
from pipelines.labels import EvaluationProtocol, Label, check_files, listed, with_labels

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.storage import Storage

LAYOUT = "2_ClipsforFaceCrop/<scene>/<emotion>/<NNNN>/*.jpg"
CLASSES = ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")
ALL_SCENES = EvaluationProtocol("all_scenes", "classes", CLASSES, official=38_935)
SETUP = "4_setups/All_scenes"
CLIPS = "2_ClipsforFaceCrop"

_CLIP = re.compile(rf"{CLIPS}/(?P<clip>[^/]+/[^/]+/\d{{4}})")


def clip_of(uri: str) -> str | None:
    """A clip as the lists name it: scene, emotion and number."""
    match = _CLIP.fullmatch(uri)
    return match["clip"] if match else None


def parse(name: str) -> Labels | None:
    return parse_clip(name, clip_of)


def settle(table: pa.Table) -> pa.Table:
    check_once(table)
    return table


def label(table: pa.Table, storage: Storage, withdrawn: Collection[str]) -> Labelled:
    lists = {part: read_pairs(storage, f"{SETUP}/{part}_All.csv") for part in ("train", "test")}
    clips = merge_parts(lists, source=SETUP)
    _check_folders(clips)
    check_files({f"{CLIPS}/{clip}" for clip in clips}, table, withdrawn, source=SETUP)
    names = table["video"].to_pylist()
    labels = [_labels(clips[name]) if name in clips else [] for name in names]
    labelled = with_labels(table, labels, [{"scene": name.split("/")[0]} for name in names])
    splits = [clips[name].part if name in clips else "all" for name in names]
    return Labelled(replaced(labelled, split=splits), (ALL_SCENES,))


def _labels(found: Assigned) -> list[Label]:
    return [Label(ALL_SCENES.name, class_target(found.label, CLASSES, source=SETUP), found.part)]


def _check_folders(clips: Mapping[str, Assigned]) -> None:
    """Raises ValueError naming clips that a list calls otherwise than their folder does."""
    if odd := sorted(clip for clip, found in clips.items() if clip.split("/")[1:2] != [found.label]):
        raise ValueError(f"{SETUP} gives another emotion than the folder for {listed(odd)}")
