"""Predictions of test videos, and what is said of the weights that made them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.parts.evaluation import setting_of
from jobs.parts.predictions import prediction_table
from pipelines.labelled_videos import in_parts, labelled_videos
from tests.pipelines.labelled_corpus import PROTOCOL, UNLABELLED, VIDEOS, class_of, part_of, write_labelled


def ancestor(corpus: str, *subjects: str, started_from: dict | None = None) -> dict[str, Any]:
    return {"corpus": corpus, "subjects": list(subjects), "started_from": started_from}


@pytest.mark.parametrize(
    ("started_from", "setting"),
    [
        (None, None),
        ({"corpus": "voxceleb2", "subjects": ["anna"]}, "inductive"),
        (ancestor("mead", "bert"), "inductive"),
        (ancestor("mead", "anna"), "transductive"),
        (ancestor("dfew", started_from=ancestor("mead", "bert", "anna")), "transductive"),
        (ancestor("dfew", "anna", started_from=ancestor("mead", "bert")), "inductive"),
    ],
)
def test_weights_that_have_seen_a_test_subject_however_long_ago_are_transductive(
    started_from: dict | None, setting: str | None
) -> None:
    assert setting_of(ancestor("mead", "carl", started_from=started_from), ["anna", "dora"]) == setting


def test_predictions_are_mean_scores_with_the_votes_of_the_clips(tmp_path: Path) -> None:
    catalog = write_labelled(tmp_path)
    videos = in_parts(labelled_videos(catalog, PROTOCOL), ("1",))
    scores = {i: np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]], np.float32) for i in videos["sample_id"].to_pylist()}
    scores[0] = scores[0][:1]
    table = prediction_table(catalog.table, videos, scores)
    rows = {row["sample_id"]: row for row in table.to_pylist()}
    assert set(rows) == {i for i in range(VIDEOS) if i != UNLABELLED and part_of(i) == "1"}
    assert rows[0]["score"] == pytest.approx([0.9, 0.1]) and (rows[0]["clips"], rows[0]["votes"]) == (1, [1, 0])
    assert rows[3]["score"] == pytest.approx([0.5, 0.5]) and (rows[3]["clips"], rows[3]["votes"]) == (3, [1, 2])
    assert all(row["target"] == list(np.eye(2)[class_of(i)]) and row["part"] == "1" for i, row in rows.items())
    with pytest.raises(ValueError, match="1 videos have no prediction"):
        prediction_table(catalog.table, videos, {i: score for i, score in scores.items() if i != 3})
