"""One sample of a take: two views of the same instants, drawn from ids alone, and masks that follow the face."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from models.tokens import MULTI_VIEW_BATCH, check_batch
from pipelines.action_units import ACTION_UNITS
from pipelines.annotations import check_annotations
from pipelines.au_masks import Fallback
from pipelines.corpora.mead import MIRRORED_VIEW, VIEWS
from pipelines.quarantine import Reason, SampleError
from pipelines.randomness import Draw
from pipelines.storage import Storage
from pipelines.take_reader import TakeReader, find, held_out_key, held_out_records, read_held_out, take_at
from pipelines.take_sample import FRONT, Take, TakeSampleConfig, choose, choose_held_out, draw_masks
from pipelines.take_stream import TakeChoice, take_rows
from tests.pipelines.take_corpus import SAMPLE, TakeCorpus


@pytest.fixture(scope="module")
def corpus(take_corpus: TakeCorpus) -> TakeCorpus:
    return take_corpus


@pytest.fixture(scope="module")
def rows(corpus: TakeCorpus):
    return take_rows(corpus.catalog, "dev", TakeChoice(), SAMPLE)[0]


def without(take: Take, *views: int) -> Take:
    return take._replace(videos=tuple(None if i in views else video for i, video in enumerate(take.videos)))


def drawn(rows, config: TakeSampleConfig, count: int = 300) -> list:
    take = take_at(rows, 0)
    return [choose(take._replace(sample_id=i), config, epoch=0) for i in range(count)]


def test_input_views_are_uniform_and_targets_follow_the_switch(rows) -> None:
    others, anys, sames = (drawn(rows, replace(SAMPLE, target_views=rule)) for rule in ("other", "any", "same"))
    counts = Counter(choice.input_view for choice in others)
    assert set(counts) == set(range(7)) and max(counts.values()) < 2.2 * min(counts.values())
    assert all(choice.input_view != choice.target_view for choice in others)
    assert {choice.target_view for choice in others} == set(range(7))
    assert 0 < sum(choice.input_view == choice.target_view for choice in anys) < 100
    assert all(choice.input_view == choice.target_view and len(choice.views) == 1 for choice in sames)


def test_a_choice_depends_on_seed_epoch_and_sample_alone(rows) -> None:
    take = take_at(rows, 1)

    def facts(config: TakeSampleConfig, epoch: int) -> tuple:
        choice = choose(take, config, epoch=epoch)
        return choice.views, choice.indices.tolist(), choice.crop

    assert facts(SAMPLE, 3) == facts(SAMPLE, 3)
    assert len({str(facts(SAMPLE, epoch)) for epoch in range(20)}) > 15
    assert facts(SAMPLE, 3) != facts(replace(SAMPLE, seed=1), 3)
    held_out = [choose_held_out(take, replace(SAMPLE, seed=seed)) for seed in (0, 5)]
    assert held_out[0].views == held_out[1].views and not held_out[0].crop.flip


def test_a_take_draws_from_the_views_it_has_and_a_single_one_is_its_own_target(rows) -> None:
    take = take_at(rows, 0)
    some = without(take, 0, 2, 5)
    for i in range(60):
        assert set(choose(some._replace(sample_id=i), SAMPLE, epoch=0).views) <= {1, 3, 4, 6}
    single = choose(without(take, *range(1, 7)), SAMPLE, epoch=0)
    assert (single.input_view, single.target_view) == (FRONT, FRONT)


def test_frames_are_drawn_from_what_both_views_have(rows) -> None:
    take = take_at(rows, 0)
    short = [video._replace(frames=5) for video in take.videos]
    with pytest.raises(SampleError) as refusal:
        choose(take._replace(videos=tuple(short)), replace(SAMPLE, clip=replace(SAMPLE.clip, short="drop")), epoch=0)
    assert refusal.value.reason is Reason.too_short


def test_a_flip_exchanges_left_and_right_views(rows) -> None:
    flipped = [choice for choice in drawn(rows, SAMPLE) if choice.crop.flip]
    assert 100 < len(flipped) < 200
    for choice in flipped:
        assert choice.shown_views == (MIRRORED_VIEW[choice.input_view], MIRRORED_VIEW[choice.target_view])
    assert VIEWS[MIRRORED_VIEW[VIEWS.index("left_30")]] == "right_30"


def test_a_batch_has_the_contract_s_shape_and_says_the_views_it_shows(corpus: TakeCorpus, rows) -> None:
    config = replace(SAMPLE, clips_per_video=2)
    reader = TakeReader(
        rows, storage=corpus.storage, annotations=corpus.annotations(), config=config, fetch_threads=1, epoch=0
    )
    batch = reader.read(np.array([0, 3, -1]))
    check_batch(batch, MULTI_VIEW_BATCH)
    assert batch["sample_id_B"].tolist() == [0, 3, -1] and batch["rejected_B"].tolist() == ["", "", ""]
    assert batch["clip_BTHWC"][:2].std() > 20 and batch["target_BTHWC"][:2].std() > 20
    assert not batch["clip_BTHWC"][2].any() and not batch["target_BTHWC"][2].any()
    for mask_V in batch["visible_BRV"].reshape(-1, batch["visible_BRV"].shape[-1]):
        assert len(set(mask_V.tolist())) == config.visible_shape[1]
    again = reader.read(np.array([3]))
    assert all(np.array_equal(again[name][0], batch[name][1]) for name in batch)


def test_only_the_drawn_views_are_fetched(corpus: TakeCorpus, rows) -> None:
    fetched = []

    class Counting(Storage):
        def read(self, name: str) -> bytes:
            fetched.append(name)
            return super().read(name)

    take = take_at(rows, 0)
    choice = choose(take, SAMPLE, epoch=0)
    find(take, choice, Counting(corpus.storage.uri), corpus.annotations(), SAMPLE)
    assert fetched == [take.videos[view].uri for view in choice.views]


def test_an_unusable_view_rejects_the_sample_and_names_the_video(corpus: TakeCorpus, rows) -> None:
    take = take_at(rows, 2)
    gone = {take.videos[view].uri for view in choose(take, SAMPLE, epoch=0).views}

    class Holey(Storage):
        def read(self, name: str) -> bytes:
            return super().read("no/such" if name in gone else name)

    storage = Holey(corpus.storage.uri)
    reader = TakeReader(
        rows, storage=storage, annotations=corpus.annotations(), config=SAMPLE, fetch_threads=1, epoch=0
    )
    batch = reader.read(np.array([2]))
    assert '"reason": "missing"' in batch["rejected_B"][0] and any(uri in batch["rejected_B"][0] for uri in gone)
    assert not batch["clip_BTHWC"].any() and len(set(batch["visible_BRV"][0, 0].tolist())) == SAMPLE.visible_shape[1]


def test_held_out_batches_are_the_same_for_every_seed_and_never_skip(corpus: TakeCorpus, rows) -> None:
    one, two = (
        read_held_out(rows, corpus.storage, corpus.annotations(), replace(SAMPLE, seed=seed), positions_B=[0, 1])
        for seed in (0, 9)
    )
    assert all(np.array_equal(one[name], two[name]) for name in one)
    lost = Storage(corpus.storage.uri).child("nowhere")
    with pytest.raises(ValueError, match=r"held-out video .*mp4 cannot be used: missing"):
        read_held_out(rows, lost, corpus.annotations(), SAMPLE, positions_B=[0])


def test_the_records_of_held_out_masks_are_those_of_the_batch(corpus: TakeCorpus, rows) -> None:
    config, annotations = replace(SAMPLE, clips_per_video=3), corpus.annotations()
    batch = read_held_out(rows, corpus.storage, annotations, config, positions_B=[0, 3])
    for index, position in enumerate((0, 3)):
        take = take_at(rows, position)
        choice = choose_held_out(take, config)
        tracks = find(take, choice, corpus.storage, annotations, config).tracks
        masks_RV, records = draw_masks(choice, tracks, config, draw=Draw.HELD_OUT_MASK, **held_out_key(take))
        assert np.array_equal(batch["visible_BRV"][index], masks_RV)
        assert held_out_records(take, annotations, config) == records


def test_masks_keep_the_patches_of_an_active_unit_of_the_view_itself(corpus: TakeCorpus, rows) -> None:
    shown = Counter()
    for position in range(rows.num_rows):
        take = take_at(rows, position)
        for epoch in range(6):
            choice = choose(take, SAMPLE, epoch=epoch)
            found = find(take, choice, corpus.storage, corpus.annotations(), SAMPLE)
            (mask_V,), (record,) = draw_masks(choice, found.tracks, SAMPLE, draw=Draw.MASK, seed=0, epoch=epoch)
            shown[record.fallback] += 1
            assert len(mask_V) == SAMPLE.visible_shape[1]
            assert record.unit in ACTION_UNITS and record.kept > 0
    assert shown[Fallback.none] > 0 and not shown[Fallback.no_landmarks]


def test_without_a_face_the_picture_is_the_centre_and_the_mask_plain(corpus: TakeCorpus, rows) -> None:
    take = take_at(rows, 0)
    choice = choose(take, SAMPLE, epoch=0)
    blind = corpus.annotations(faceless=frozenset(video.uri for video in take.videos))
    found = find(take, choice, corpus.storage, blind, SAMPLE)
    _, (record,) = draw_masks(choice, found.tracks, SAMPLE, draw=Draw.MASK, seed=0)
    assert (record.unit, record.fallback) == (0, Fallback.no_landmarks)
    batch = read_held_out(rows, corpus.storage, blind, SAMPLE, positions_B=[0])
    assert batch["clip_BTHWC"].std() > 20


def test_kept_nothing_masks_without_looking_at_the_face(corpus: TakeCorpus, rows) -> None:
    config = replace(SAMPLE, mask=replace(SAMPLE.mask, keep="nothing"))
    take = take_at(rows, 0)
    choice = choose(take, config, epoch=0)
    found = find(take, choice, corpus.storage, corpus.annotations(), config)
    _, (record,) = draw_masks(choice, found.tracks, config, draw=Draw.MASK, seed=0)
    assert record.unit == 0


def test_frontal_activity_chooses_the_unit_and_the_view_s_own_landmarks_its_place(corpus: TakeCorpus, rows) -> None:
    config = replace(SAMPLE, au_source="frontal", target_views="same", align=replace(SAMPLE.align, flip=False))
    takes = [take_at(rows, 0)._replace(sample_id=i) for i in range(200)]
    take = next(take for take in takes if choose(take, config, epoch=0).input_view == 2)
    choice = choose(take, config, epoch=0)
    found = find(take, choice, corpus.storage, corpus.annotations(), config)
    assert set(found.tracks) == {2, FRONT} and set(found.files) == {2}
    (mask_V,), (record,) = draw_masks(choice, found.tracks, config, draw=Draw.MASK, seed=0)
    own = {view: track for view, track in found.tracks.items() if view == 2}
    (same_V,), (same,) = draw_masks(choice, own, replace(config, au_source="own"), draw=Draw.MASK, seed=0)
    assert record.unit == same.unit and np.array_equal(mask_V, same_V), "the truth is the same in both views"


def test_levels_folds_and_single_views_decide_which_takes_there_are(corpus: TakeCorpus) -> None:
    everything, total = take_rows(corpus.catalog, "dev", TakeChoice(), SAMPLE)
    assert everything.num_rows == total == 4
    fold = take_rows(corpus.catalog, "dev", TakeChoice(without_fold=0), SAMPLE)[0]
    assert fold.num_rows == 2
    with pytest.raises(ValueError, match="no take"):
        take_rows(corpus.catalog, "test", TakeChoice(), SAMPLE)
    with pytest.raises(ValueError, match="levels"):
        TakeChoice(levels=(4,))


def test_annotations_of_another_catalog_are_refused(corpus: TakeCorpus) -> None:
    check_annotations(corpus.catalog, corpus.annotations())
    with pytest.raises(ValueError, match="annotate_faces"):
        check_annotations(
            corpus.catalog, replace(corpus.annotations(), catalog_fingerprint="other", place=corpus.storage)
        )


@pytest.mark.parametrize(
    "fields", [{"clips_per_video": 0}, {"geometry": replace(SAMPLE.geometry, height=80, width=80)}, {"seed": -1}]
)
def test_a_config_that_cannot_work_is_refused(fields: dict) -> None:
    with pytest.raises(ValueError):
        replace(SAMPLE, **fields)
