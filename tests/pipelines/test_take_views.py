"""All views of one take at the same instants, and one take for each emotion and level."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from pipelines.alignment import central_crop
from pipelines.corpora.mead import EMOTIONS
from pipelines.storage import Storage
from pipelines.take_reader import find, take_at
from pipelines.take_sample import FRONT, Choice, Take, read_view
from pipelines.take_stream import TakeChoice, take_rows
from pipelines.take_views import name_of, one_of_each, read_views
from tests.pipelines.take_corpus import SAMPLE, TakeCorpus, table_of


@pytest.fixture(scope="module")
def corpus(take_corpus: TakeCorpus) -> TakeCorpus:
    return take_corpus


@pytest.fixture(scope="module")
def rows(corpus: TakeCorpus) -> pa.Table:
    return take_rows(corpus.catalog, "dev", TakeChoice(), SAMPLE)[0]


def without(take: Take, *views: int) -> Take:
    return take._replace(videos=tuple(None if i in views else video for i, video in enumerate(take.videos)))


def test_all_views_show_the_same_central_instants(corpus: TakeCorpus, rows: pa.Table) -> None:
    take = without(take_at(rows, 0), 2)
    shortest = min(video.frames for video in take.videos if video is not None)
    views = read_views(take, corpus.storage, corpus.annotations(), SAMPLE)
    assert [clip is None for clip in views.clips] == [view == 2 for view in range(7)]
    start = (shortest - 7) // 2
    indices = np.arange(start, start + 8, 2)
    for view in (0, 4, 6):
        choice = Choice(view, view, indices, central_crop(SAMPLE.align, 64))
        found = find(take, choice, corpus.storage, corpus.annotations(), SAMPLE)
        clip_THWC = np.zeros(SAMPLE.clip_shape, np.uint8)
        read_view(take.videos[view], found.files[view], found.tracks[view], choice, SAMPLE, out_THWC=clip_THWC)
        assert np.array_equal(views.clips[view], clip_THWC)
    assert len(views.visible_V) == SAMPLE.visible_shape[1] and views.record.unit > 0


def test_views_are_not_read_without_the_frontal_one_or_with_one_that_is_lost(corpus: TakeCorpus, rows) -> None:
    take = take_at(rows, 1)
    with pytest.raises(ValueError, match="no frontal view"):
        read_views(without(take, FRONT), corpus.storage, corpus.annotations(), SAMPLE)
    lost = take.videos[5].uri

    class Holey(Storage):
        def read(self, name: str) -> bytes:
            return super().read("no/such" if name == lost else name)

    with pytest.raises(ValueError, match=rf"{lost} cannot be used: missing"):
        read_views(take, Holey(corpus.storage.uri), corpus.annotations(), SAMPLE)


def test_one_take_is_chosen_for_every_emotion_and_level_the_most_complete(rows: pa.Table) -> None:
    takes = [take_at(rows, position) for position in range(rows.num_rows)]
    kinds = {(name_of(take).emotion, name_of(take).level) for take in takes}
    chosen = one_of_each(rows, 100)
    names = [name_of(take) for take in chosen]
    assert {(name.emotion, name.level) for name in names} == kinds and len(names) == len(kinds)
    assert names == sorted(names, key=lambda name: (EMOTIONS.index(name.emotion), name.level))
    assert one_of_each(rows, 1) == chosen[:1]

    one = takes[0]
    copies = [without(one, FRONT), without(one, 1, 2)._replace(sample_id=10), without(one, 1)._replace(sample_id=11)]
    assert [take.sample_id for take in one_of_each(table_of(rows, copies), 5)] == [11]
