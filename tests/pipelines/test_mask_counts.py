"""Masks counted before training: those that training then draws."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pytest

from pipelines.action_units import ACTION_UNITS
from pipelines.au_masks import Fallback
from pipelines.corpora.mead import VIEWS
from pipelines.mask_counts import count_masks
from pipelines.randomness import Draw
from pipelines.take_reader import find, take_at
from pipelines.take_sample import choose, draw_masks
from pipelines.take_stream import TakeChoice, take_rows
from tests.pipelines.take_corpus import SAMPLE, TakeCorpus, table_of


@pytest.fixture(scope="module")
def corpus(take_corpus: TakeCorpus) -> TakeCorpus:
    return take_corpus


@pytest.fixture(scope="module")
def rows(corpus: TakeCorpus) -> pa.Table:
    return take_rows(corpus.catalog, "dev", TakeChoice(), SAMPLE)[0]


def test_counted_masks_are_those_that_training_draws(corpus: TakeCorpus, rows: pa.Table) -> None:
    config, annotations = replace(SAMPLE, clips_per_video=2, seed=3), corpus.annotations()
    counts = count_masks(rows, annotations, config, limit=100)
    assert (counts.takes, counts.rows, counts.unusable) == (4, 4, 0)
    drawn = []
    for position in range(4):
        take = take_at(rows, position)
        choice = choose(take, config, epoch=0)
        tracks = find(take, choice, corpus.storage, annotations, config).tracks
        _, records = draw_masks(choice, tracks, config, draw=Draw.MASK, seed=3, epoch=0, sample_id=take.sample_id)
        drawn += [(choice.input_view, record) for record in records]
    assert sum(masks.masks for masks in counts.views.values()) == len(drawn) == 8
    for view, masks in counts.views.items():
        records = [record for found, record in drawn if VIEWS[found] == view]
        assert masks.fallbacks == {fallback: Counter(r.fallback for r in records)[fallback] for fallback in Fallback}
        assert masks.units == {unit: Counter(r.unit for r in records)[unit] for unit in ACTION_UNITS}
        assert (masks.kept, masks.dropped) == (sum(r.kept for r in records), sum(r.dropped for r in records))
    assert count_masks(rows, annotations, config, limit=2).takes == 2


def test_lost_faces_are_counted_where_they_are_lost(corpus: TakeCorpus, rows: pa.Table) -> None:
    lost = frozenset(video.uri for i in range(4) for video in take_at(rows, i).videos if "/front/" not in video.uri)
    many = table_of(rows, [take_at(rows, i % 4)._replace(sample_id=i) for i in range(40)])
    counts = count_masks(many, corpus.annotations(faceless=lost), SAMPLE, limit=40)
    for view, masks in counts.views.items():
        assert masks.masks > 0 and masks.fallbacks[Fallback.no_landmarks] == masks.plain
        assert masks.plain == (0 if view == "front" else masks.masks)
    recorded = json.loads(json.dumps(counts.to_json()))
    assert recorded["views"]["left_60"]["fallbacks"]["no_landmarks"] == counts.views["left_60"].masks
    assert sum(recorded["views"]["front"]["units"].values()) == counts.views["front"].masks


def test_takes_that_are_too_short_are_counted_as_unusable(corpus: TakeCorpus, rows: pa.Table) -> None:
    config = replace(SAMPLE, clip=replace(SAMPLE.clip, stride=200, short="drop"))
    counts = count_masks(rows, corpus.annotations(), config, limit=10)
    assert (counts.takes, counts.unusable) == (0, 4)
