from __future__ import annotations

import io
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from pipelines.catalog import SCHEMA, UNLABELLED, Catalog, make_catalog
from pipelines.corpora import mead
from pipelines.corpora.mead import VIEWS
from pipelines.takes import Omission, TakeConfig, subject_folds, take_table

FRAMES = 100


def uri(view: str, *, subject: str = "M003", take: str = "angry/level_1/001", part: str = "") -> str:
    return f"{subject}/video/{part}{view}/{take}.mp4"


def catalog(*changes: tuple[str, dict[str, Any]], corpus: str = "mead") -> Catalog:
    """Of (uri, what differs from a good row)."""
    rows = []
    for index, (name, values) in enumerate(sorted(changes, key=lambda change: change[0])):
        labels = mead.parse(name)
        good = {
            **{"sample_id": index, "uri": name, "size": 1000, "etag": "e", "digest": "d", **labels._asdict()},
            **{"width": 1920, "height": 1080, "fps": 25.0, "frames": FRAMES, "status": "ok", "detail": ""},
            **UNLABELLED,
        }
        row = good | values
        rows.append({"seconds": row["frames"] / row["fps"]} | row)
    columns = {field.name: [row[field.name] for row in rows] for field in SCHEMA}
    return make_catalog(pa.table(columns, schema=SCHEMA), corpus=corpus, root="s3://bucket/mead")


def whole(**name: str) -> list[tuple[str, dict[str, Any]]]:
    return [(uri(view, **name), {}) for view in VIEWS]


def changed(view: str, **values: Any) -> Catalog:
    """One take, one of whose views differs."""
    return catalog(*((name, values if f"/{view}/" in name else {}) for name, _ in whole()))


def test_seven_views_become_one_row_in_the_order_of_the_views() -> None:
    source = catalog(*whole())
    takes = take_table(source)
    (row,) = takes.table.to_pylist()
    assert (row["take_id"], row["subject"], row["emotion"], row["level"], row["number"]) == (0, "M003", "angry", 1, 1)
    assert row["uris"] == [uri(view) for view in VIEWS]
    known = dict(zip(source.table["sample_id"].to_pylist(), source.table["uri"].to_pylist(), strict=True))
    assert [known[video] for video in row["video_ids"]] == row["uris"]
    assert row["frames"] == [FRAMES] * 7 and row["fps"] == [25.0] * 7
    assert row["split"] == source.table["split"][0].as_py()
    assert takes.report.omitted == () and takes.report.views == {"M003": (1,) * 7}


def test_the_same_number_of_another_actor_emotion_or_level_is_another_take() -> None:
    others = ("angry/level_2/001", "fear/level_1/001", "angry/level_1/002")
    videos = [*whole(subject="W009"), *(video for take in ("angry/level_1/001", *others) for video in whole(take=take))]
    table = take_table(catalog(*videos)).table
    assert table["take_id"].to_pylist() == [0, 1, 2, 3, 4]
    keys = list(zip(*(table[name].to_pylist() for name in ("subject", "emotion", "level", "number")), strict=True))
    assert keys == sorted(keys) and len(set(keys)) == 5


def test_a_missing_view_leaves_its_cell_empty_and_shows_in_the_report() -> None:
    takes = take_table(catalog(*(video for video in whole() if "/top/" not in video[0])))
    (row,) = takes.table.to_pylist()
    top = VIEWS.index("top")
    assert (row["uris"][top], row["video_ids"][top], row["frames"][top], row["fps"][top]) == ("", -1, 0, 0)
    assert takes.report.views["M003"] == (1, 1, 1, 1, 1, 0, 1)
    assert takes.report.omitted == ()


def test_an_unusable_view_is_left_out_with_the_reason_of_the_catalog() -> None:
    takes = take_table(changed("front", status="short_read", detail="cut", frames=0, seconds=0.0))
    assert takes.table["uris"][0].as_py()[0] == "" and takes.table["video_ids"][0].as_py()[0] == -1
    assert takes.report.omitted == (Omission(uri("front"), "short_read", "cut"),)


@pytest.mark.parametrize("view", ["front", "right_60"])
def test_a_view_ten_frames_shorter_is_left_out_whichever_it_is(view: str) -> None:
    takes = take_table(changed(view, frames=FRAMES - 10))
    assert [name for name, at in zip(VIEWS, takes.table["uris"][0].as_py(), strict=True) if not at] == [view]
    (omission,) = takes.report.omitted
    assert (omission.uri, omission.reason) == (uri(view), "length")
    assert "90 frames in 3.60 s" in omission.detail and "100 frames in 4.00 s" in omission.detail


def test_views_may_differ_by_a_few_frames_but_neither_in_rate_nor_beyond_the_config() -> None:
    assert take_table(changed("down", frames=FRAMES - 5)).report.omitted == ()
    assert [o.reason for o in take_table(changed("down", fps=30.0)).report.omitted] == ["length"]
    strict = TakeConfig(max_frames_apart=4)
    assert [o.uri for o in take_table(changed("down", frames=FRAMES - 5), strict).report.omitted] == [uri("down")]


def test_of_two_views_that_disagree_the_frontal_one_stays() -> None:
    takes = take_table(catalog((uri("front"), {"frames": 60}), (uri("left_30"), {})))
    assert [bool(at) for at in takes.table["uris"][0].as_py()] == [True] + [False] * 6


def test_a_take_of_one_view_stays_and_one_of_none_is_reported() -> None:
    videos = [(uri("left_60"), {}), (uri("front", take="sad/level_3/002"), {"status": "empty"})]
    takes = take_table(catalog(*videos))
    assert takes.table["emotion"].to_pylist() == ["angry"]
    assert takes.report.single_view == 1
    assert takes.report.without_view == ("M003/sad/level_3/002",)


def test_a_view_that_is_there_twice_is_taken_once_and_reported() -> None:
    twice = uri("front", part="2/")
    takes = take_table(catalog(*whole(), (twice, {})))
    kept = takes.table["uris"][0].as_py()[0]
    assert [o.reason for o in takes.report.omitted] == ["duplicate"]
    assert {kept, takes.report.omitted[0].uri} == {uri("front"), twice}


def test_another_corpus_and_one_without_takes_are_refused() -> None:
    with pytest.raises(ValueError, match="'folder'"):
        take_table(catalog(*whole(), corpus="folder"))
    with pytest.raises(ValueError, match="none of its 1 videos"):
        take_table(catalog((uri("front"), {"status": "empty"})))


def test_folds_are_disjoint_balanced_and_the_same_in_any_order() -> None:
    subjects = [f"M{i:03d}" for i in range(1, 49)]
    folds = subject_folds(subjects)
    assert set(folds) == set(subjects)
    assert sorted(Counter(folds.values()).values()) == [9, 9, 10, 10, 10]
    shuffled = np.random.default_rng(0).permutation([*subjects, *subjects]).tolist()
    assert subject_folds(shuffled) == folds
    assert subject_folds(subjects, seed=1) != folds
    assert subject_folds(subjects, seed=0) == folds


def test_all_takes_of_an_actor_are_in_the_actors_fold() -> None:
    subjects = [f"W{i:03d}" for i in range(12)]
    videos = [(uri("front", subject=s, take=f"sad/level_1/{n:03d}"), {}) for s in subjects for n in (1, 2)]
    table = take_table(catalog(*videos), TakeConfig(seed=3)).table
    expected = subject_folds(subjects, seed=3)
    assert table["fold"].to_pylist() == [expected[s] for s in table["subject"].to_pylist()]


def test_the_report_prints_who_lacks_which_view() -> None:
    videos = [*whole(), *whole(subject="W017")[:3], *whole(subject="W017", take="fear/level_1/001")[:2]]
    text = io.StringIO()
    Console(width=120, file=text).print(take_table(catalog(*videos)).report)
    cells = [[cell.strip() for cell in line.split("│")] for line in text.getvalue().splitlines() if "│" in line]
    by_subject = {row[1]: row[3:-1] for row in cells}
    assert by_subject["W017"] == ["2", "2", "2", "1", "-", "-", "-", "-"]
    assert by_subject["all"] == ["3", "3", "3", "2", "1", "1", "1", "1"]


@pytest.mark.parametrize("change", [{"max_frames_apart": -1}, {"folds": 1}])
def test_an_impossible_config_names_the_value(change: dict) -> None:
    ((name, value),) = change.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        TakeConfig(**change)
