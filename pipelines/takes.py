"""Takes: the synchronised views of one performance as one row, and a report of what is missing.

A view stays out of its take, with a reason in the report, where its file is unusable, a duplicate, or not as long as
the others: frame t would not show the same instant. The reference is the view that most others agree with, the one
named first in VIEWS where several are. A take of a single view stays: it can be reconstructed and scored in that view,
as MAURA's VideoMAE rows do; who needs two views leaves out the rows that have one. A take without any view has no row.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from pipelines.catalog import OK, Catalog
from pipelines.corpora.mead import VIEWS, read_name

if TYPE_CHECKING:
    from rich.table import Table

SCHEMA = pa.schema(
    [
        pa.field(name, kind, nullable=False)
        for name, kind in {
            "take_id": pa.int64(),  # counts the rows
            "subject": pa.string(),
            "emotion": pa.string(),
            "level": pa.int64(),
            "number": pa.int64(),
            "fold": pa.int64(),
            "split": pa.string(),
            # Per view, in the order of VIEWS. Of one that the take lacks: "", -1, 0 and 0.
            "uris": pa.list_(pa.string(), len(VIEWS)),
            "video_ids": pa.list_(pa.int64(), len(VIEWS)),  # sample_id in the catalog
            "frames": pa.list_(pa.int64(), len(VIEWS)),
            "fps": pa.list_(pa.float64(), len(VIEWS)),
        }.items()
    ]
)
_COLUMNS = ("sample_id", "uri", "split", "frames", "fps", "seconds", "status", "detail")


@dataclass(frozen=True)
class TakeConfig:
    """What counts as synchronised, and how subjects are dealt into folds."""

    max_frames_apart: int = 5
    """Each camera's recording was cut by itself, which costs the odd frame at either end. Five are a sixth of a second,
    less than an expression takes to appear; a broken or another recording differs by more. Durations may differ by as
    much and half a frame, so a view of another frame rate does not pass."""
    folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_frames_apart < 0:
            raise ValueError(f"max_frames_apart={self.max_frames_apart} must not be negative")
        if self.folds < 2:
            raise ValueError(f"folds={self.folds} must be at least 2")


class Omission(NamedTuple):
    """A video that is in no take."""

    uri: str
    reason: str
    """The status in the catalog, "duplicate" or "length"."""
    detail: str


@dataclass(frozen=True)
class TakeReport:
    """How complete the views are. Printed by rich as a table of subjects and views."""

    takes: dict[str, int]
    """By subject, those that have a row."""
    views: dict[str, tuple[int, ...]]
    """By subject, the takes that have each of VIEWS."""
    folds: dict[str, int]
    single_view: int
    """Takes of one view."""
    without_view: tuple[str, ...]
    """Names of takes of which no view is usable."""
    omitted: tuple[Omission, ...]

    def __rich__(self) -> Table:
        from rich.table import Table

        counts = Counter(omission.reason for omission in self.omitted)
        left_out = ", ".join(f"{count} {reason}" for reason, count in counts.most_common()) or "none"
        total = sum(self.takes.values())
        caption = (
            f"{total} takes, {self.single_view} of a single view, {len(self.without_view)} more without any; "
            f"videos left out: {left_out}"
        )
        table = Table(title="takes per subject and view", caption=caption)
        table.add_column("subject")
        for name in ("fold", "takes", *VIEWS):
            table.add_column(name, justify="right")
        for subject, takes in self.takes.items():
            cells = [str(n) if n == takes else f"[yellow]{n}[/]" if n else "[red]-[/]" for n in self.views[subject]]
            table.add_row(subject, str(self.folds[subject]), str(takes), *cells)
        sums = [sum(row[view] for row in self.views.values()) for view in range(len(VIEWS))]
        table.add_section()
        table.add_row("all", "", str(total), *map(str, sums))
        return table


class Takes(NamedTuple):
    """The takes of a catalog, in the form of SCHEMA, ordered by subject, emotion, level and number."""

    table: pa.Table
    report: TakeReport


def subject_folds(subjects: Iterable[str], *, folds: int = 5, seed: int = 0) -> dict[str, int]:
    """The fold of each subject: they are dealt in turn, so sizes differ by one at most. Fewer subjects than folds
    leave the last ones empty.

    A pure function of (set of subjects, folds, seed); MAURA uses five folds without saying which.
    """
    dealt = sorted(set(subjects), key=lambda subject: hashlib.sha256(f"{seed}/{subject}".encode()).digest())
    return {subject: position % folds for position, subject in enumerate(dealt)}


def take_table(catalog: Catalog, config: TakeConfig | None = None) -> Takes:
    """Groups the videos of a MEAD catalog.

    Raises ValueError for a catalog of another corpus and for one without a usable video.
    """
    config = config or TakeConfig()
    if catalog.corpus != "mead":
        raise ValueError(f"takes are those of the corpus mead, this catalog is of {catalog.corpus!r}")
    groups: dict[tuple[str, str, int, int], list[dict]] = defaultdict(list)
    for row in catalog.table.select(_COLUMNS).to_pylist():
        name = read_name(row["uri"])
        groups[name.subject, name.emotion, name.level, name.number].append({**row, "view": name.view})
    folds = subject_folds((subject for subject, *_ in groups), folds=config.folds, seed=config.seed)
    rows, without_view, omitted = [], [], []
    for key, videos in sorted(groups.items()):
        chosen = _synchronised(videos, config, omitted)
        subject, emotion, level, number = key
        if not chosen:
            without_view.append(f"{subject}/{emotion}/level_{level}/{number:03d}")
            continue
        views = [chosen.get(view, {}) for view in VIEWS]
        rows.append(
            {
                "take_id": len(rows),
                **{"subject": subject, "emotion": emotion, "level": level, "number": number},
                "fold": folds[subject],
                "split": videos[0]["split"],
                "uris": [video.get("uri", "") for video in views],
                "video_ids": [video.get("sample_id", -1) for video in views],
                "frames": [video.get("frames", 0) for video in views],
                "fps": [video.get("fps", 0.0) for video in views],
            }
        )
    if not rows:
        raise ValueError(f"no take in the catalog of {catalog.root}: none of its {len(omitted)} videos is usable")
    return Takes(pa.Table.from_pylist(rows, SCHEMA), _report(rows, folds, without_view, omitted))


def _synchronised(videos: list[dict], config: TakeConfig, omitted: list[Omission]) -> dict[str, dict]:
    """The videos of a take by view. Those that stay out are added to `omitted`."""
    by_view: dict[str, dict] = {}
    for video in sorted(videos, key=lambda video: (VIEWS.index(video["view"]), video["uri"])):
        if video["status"] != OK:
            omitted.append(Omission(video["uri"], video["status"], video["detail"]))
        elif video["view"] in by_view:
            omitted.append(Omission(video["uri"], "duplicate", f"of {by_view[video['view']]['uri']}"))
        else:
            by_view[video["view"]] = video
    if not by_view:
        return {}

    def agree(one: dict, other: dict) -> bool:
        frames, seconds = (abs(one[name] - other[name]) for name in ("frames", "seconds"))
        longest = (config.max_frames_apart + 0.5) / min(one["fps"], other["fps"])
        return frames <= config.max_frames_apart and seconds <= longest

    reference = max(by_view.values(), key=lambda one: sum(agree(one, other) for other in by_view.values()))
    for video in by_view.values():
        if not agree(reference, video):
            lengths = [f"{v['frames']} frames in {v['seconds']:.2f} s" for v in (video, reference)]
            omitted.append(Omission(video["uri"], "length", f"{lengths[0]}, {reference['view']} has {lengths[1]}"))
    return {view: video for view, video in by_view.items() if agree(reference, video)}


def _report(rows: list[dict], folds: dict[str, int], without_view: list[str], omitted: list[Omission]) -> TakeReport:
    takes = Counter(row["subject"] for row in rows)
    views = {subject: [0] * len(VIEWS) for subject in sorted(folds)}
    for row in rows:
        for view, uri in enumerate(row["uris"]):
            views[row["subject"]][view] += uri != ""
    return TakeReport(
        takes={subject: takes[subject] for subject in views},
        views={subject: tuple(counts) for subject, counts in views.items()},
        folds={subject: folds[subject] for subject in views},
        single_view=sum(sum(uri != "" for uri in row["uris"]) == 1 for row in rows),
        without_view=tuple(without_view),
        omitted=tuple(omitted),
    )
