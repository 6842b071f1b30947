"""MEAD (Wang et al.: MEAD: A Large-scale Audio-visual Dataset for Emotional Talking-face Generation, ECCV 2020).

Some 220,000 videos of 48 actors, 1920x1080 pixels: eight emotions at three levels (neutral at the first alone), filmed
by seven synchronised cameras. What one actor did once is a take; its name, `<emotion>/level_<k>/<NNN>`, is the `video`
of all its views. Some actors come as two archives, whose folders `1` and `2` may stand before the view.

The corpus has no official split. About a twentieth of the actors is held out as "test", as in `folder`, so that
pre-training has a held-out loss; the folds of an evaluation are those of `pipelines.takes`, by all actors that are
there, and the same in every protocol.

MAURA (Tables 2 to 5) scores each of the seven views by itself and averages them, at "low" and at "high" intensity, and
does not say what becomes of neutral, which has no high level: `high` leaves it out, `high_with_neutral` takes it from
the first level, `all` has all levels. A protocol of which a smaller copy has no video is left out. Attributes: view,
level, and take, which is the same for all views of a performance. Download and terms of use: the project's page,
wywu.github.io/projects/MEAD.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from pipelines.corpora import folder
from pipelines.corpora.layout import check_names
from pipelines.corpora.registry import Labelled, Labels

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.storage import Storage

LAYOUT = "<actor>/video/<view>/<emotion>/level_<k>/<NNN>.mp4"
VIEWS = ("front", "left_30", "left_60", "right_30", "right_60", "top", "down")
MIRRORED_VIEW = (0, 3, 4, 1, 2, 5, 6)
"""Index of the view that each becomes in a mirror."""
EMOTIONS = ("angry", "disgusted", "contempt", "fear", "happy", "sad", "surprised", "neutral")
"""In the order of the corpus's own label indices."""
LEVELS = (1, 2, 3)
INTENSITY = {"low": 1, "high": 3}
"""Levels by MAURA's names (Table 3): level 2 is neither, and no neutral take is high."""
PROTOCOLS = {"low": EMOTIONS, "high": EMOTIONS[:-1], "high_with_neutral": EMOTIONS, "all": EMOTIONS}
"""Classes by protocol. Neutral is the last emotion, so that a class has the same index in all."""

_VIDEO = re.compile(r"(?P<subject>[^/]+)/video/(?P<rest>(?:[^/]+/)*[^./][^/]*)\.mp4")
_NAME = re.compile(
    r"(?P<subject>[^/]+)/video/(?:\d/)?(?P<view>[^/]+)/(?P<emotion>[^/]+)/level_(?P<level>\d)/(?P<number>\d{3})\.mp4"
)


class ViewName(NamedTuple):
    """What the name of a video says."""

    subject: str
    view: str
    emotion: str
    level: int
    number: int
    """Counts the takes of an actor, an emotion and a level."""

    @property
    def take(self) -> str:
        return f"{self.emotion}/level_{self.level}/{self.number:03d}"


def read_name(name: str) -> ViewName:
    """Raises ValueError, saying what is wrong, for a name that does not follow LAYOUT."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} does not follow {LAYOUT}")
    found = ViewName(match["subject"], match["view"], match["emotion"], int(match["level"]), int(match["number"]))
    for kind, value, known in (
        ("view", found.view, VIEWS),
        ("emotion", found.emotion, EMOTIONS),
        ("level", found.level, LEVELS),
    ):
        if value not in known:
            raise ValueError(f"{name!r} has the unknown {kind} {value!r}; there are {', '.join(map(str, known))}")
    if found.emotion == "neutral" and found.level != 1:
        raise ValueError(f"{name!r} is neutral at level {found.level}; neutral exists at level 1 only")
    return found


def parse(name: str) -> Labels | None:
    match = _VIDEO.fullmatch(name)
    if match is None:
        return None
    try:
        take = read_name(name).take
    except ValueError:
        take = match["rest"]  # refused by `settle`, unless an exclusion list names it
    return Labels(folder.split_of(match["subject"]), match["subject"], take)


def settle(table: pa.Table) -> pa.Table:
    check_names(table["uri"].to_pylist(), read_name)
    return folder.settle(table)


def label(table: pa.Table, storage: Storage, withdrawn: Collection[str]) -> Labelled:
    from pipelines.labels import EvaluationProtocol, Label, check_subjects, one_hot, with_labels
    from pipelines.takes import TakeConfig, subject_folds

    config, views = TakeConfig(), [read_name(uri) for uri in table["uri"].to_pylist()]
    folds = subject_folds((view.subject for view in views), folds=config.folds, seed=config.seed)
    labels = [
        [
            Label(name, one_hot(EMOTIONS.index(view.emotion), PROTOCOLS[name]), str(folds[view.subject] + 1))
            for name in protocols_of(view)
        ]
        for view in views
    ]
    attributes = [
        {"view": view.view, "level": str(view.level), "take": f"{view.subject}/{view.take}"} for view in views
    ]
    labelled = with_labels(table, labels, attributes)
    used = {label.protocol for of_video in labels for label in of_video}
    protocols = tuple(
        EvaluationProtocol(name, "classes", classes, folds=config.folds, metric="f1_macro", group_by="view")
        for name, classes in PROTOCOLS.items()
        if name in used
    )
    for protocol in protocols:
        check_subjects(labelled, protocol)
    return Labelled(labelled, protocols)


def protocols_of(view: ViewName) -> tuple[str, ...]:
    """The protocols that a video is part of."""
    is_high = view.level == INTENSITY["high"]
    holds = {
        "low": view.level == INTENSITY["low"],
        "high": is_high,
        "high_with_neutral": is_high or view.emotion == "neutral",
        "all": True,
    }
    return tuple(name for name, is_part in holds.items() if is_part)
