"""The stream on Ray: exact blocks, exactly once, in order when asked, and nothing lost in silence."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest

from models.tokens import PRETRAINING_BATCH, check_batch
from pipelines import video_stream
from pipelines.alignment import AlignConfig
from pipelines.au_masks import AUMaskConfig
from pipelines.storage import Storage
from pipelines.stream import SampleStream, batches
from pipelines.stream_graph import DecodePool, build_dataset
from pipelines.track_file import VideoFaces
from pipelines.video_stream import VideoStreamConfig, corpus_shares, eligible_videos, judged_videos
from tests.pipelines.face_samples import faces, track, write_annotations
from tests.pipelines.stream_corpus import (
    SAMPLE,
    Deadly,
    FakeCatalog,
    Locked,
    WideReader,
    grey,
    with_column,
    write_corpus,
)

VIDEOS = 37
CONFIG = VideoStreamConfig(catalog="unused", sample=SAMPLE, min_actors=2, max_actors=2, cpus_per_actor=0.5)


@dataclass(frozen=True)
class Plan:
    workers: int = 2
    accumulation: int = 1
    micro_batch: int = 4
    deterministic: bool = False


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> FakeCatalog:
    return write_corpus(tmp_path_factory.mktemp("corpus"), VIDEOS)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray = pytest.importorskip("ray")
    ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=300 * 2**20, log_to_driver=False)
    yield
    ray.shutdown()


def consume(
    stream: SampleStream, plan: Plan, *, epoch: int = 0, consumed: np.ndarray | None = None
) -> list[list[dict]]:
    """Every batch of every consumer, copied."""
    marks = np.zeros(stream.num_samples, bool) if consumed is None else consumed
    iterators = stream.dataset(epoch, marks, plan).streaming_split(plan.workers, equal=False)
    with ThreadPoolExecutor(plan.workers) as pool:
        read = pool.map(lambda it: [{k: np.array(v) for k, v in batch.items()} for batch in batches(it)], iterators)
        return list(read)


def ids(split: list[dict]) -> list[int]:
    return [int(sample_id) for batch in split for sample_id in batch["sample_id_B"]]


def stream_of(catalog: FakeCatalog, **fields) -> SampleStream:
    return video_stream.stream_of(catalog, replace(CONFIG, **fields))


@pytest.mark.parametrize("left", [VIDEOS, 20, 1])
def test_two_consumers_get_every_sample_left_exactly_once_in_equal_numbers_of_full_batches(cluster, corpus, left):
    consumed = np.ones(VIDEOS, bool)
    consumed[np.random.default_rng(left).permutation(VIDEOS)[:left]] = False
    stream = stream_of(corpus)
    assert stream.remaining(0, consumed) == left
    splits = consume(stream, Plan(accumulation=2), consumed=consumed)
    assert len(splits[0]) == len(splits[1]) and len(splits[0]) % 2 == 0
    served = np.array(ids(splits[0]) + ids(splits[1]))
    assert sorted(served[served >= 0]) == np.flatnonzero(~consumed).tolist()
    for batch in splits[0] + splits[1]:
        check_batch(batch, PRETRAINING_BATCH)
        assert batch["clip_BTHWC"].shape == (4, 4, 32, 32, 3) and batch["visible_BRV"].shape == (4, 1, 4)
        level_B = batch["clip_BTHWC"].mean(axis=(1, 2, 3, 4))
        expected_B = [grey(sample_id) if sample_id >= 0 else 0 for sample_id in batch["sample_id_B"]]
        assert np.all(np.abs(level_B - expected_B) < 3)


def test_a_plan_of_many_blocks_keeps_every_one_of_them_exact(cluster, corpus):
    """More micro-batches than one planning task holds, the last task being shorter than the first."""
    splits = consume(stream_of(corpus), Plan(accumulation=150, micro_batch=1, deterministic=True))
    assert [len(split) for split in splits] == [150, 150]
    served = np.array([ids(splits[0]), ids(splits[1])]).T.ravel()
    assert sorted(served[:VIDEOS]) == list(range(VIDEOS)) and np.all(served[VIDEOS:] == -1)


def test_a_deterministic_plan_deals_the_planned_batches_in_turn(cluster, corpus):
    stream, plan = stream_of(corpus), Plan(deterministic=True)
    consumed = np.zeros(VIDEOS, bool)
    consumed[::5] = True
    planned_GB = stream.plan(3, consumed, plan)
    splits = consume(stream, plan, epoch=3, consumed=consumed)
    for rank, split in enumerate(splits):
        assert np.array_equal([batch["sample_id_B"] for batch in split], planned_GB[rank::2])


def test_the_rows_of_an_epoch_do_not_depend_on_the_plan(cluster, corpus):
    first = rows(consume(stream_of(corpus), Plan(), epoch=1))
    again = rows(consume(stream_of(corpus), Plan(workers=1, micro_batch=7), epoch=1))
    assert first.keys() == again.keys()
    assert all(np.array_equal(first[key], again[key]) for key in first)


def test_overfitting_sees_the_same_few_rows_in_every_epoch(cluster, corpus):
    stream = stream_of(corpus, overfit=5)
    first, later = (rows(consume(stream, Plan(), epoch=epoch)) for epoch in (0, 3))
    assert stream.samples_per_epoch == 5 and stream.num_samples == VIDEOS
    assert sorted(first) == sorted(later) == [-1, 0, 1, 2, 3, 4]
    assert all(np.array_equal(first[key], later[key]) for key in first)


def test_corpora_are_visited_by_their_weights_and_every_sample_of_an_epoch_once():
    uris = [f"a/{i:02d}.jpg" for i in range(10)] + [f"b/{i:02d}.jpg" for i in range(4)]
    stream = SampleStream(
        replace(CONFIG, passes_per_epoch=2),
        pa.table({"sample_id": np.arange(14), "uri": uris}),
        num_ids=20,
        seed=0,
        make_reader=Deadly,
        sample_bytes=1,
        fingerprint="f",
        shares_N=corpus_shares(pa.chunked_array([uris]), (("a", 0.25), ("b", 1.5))),
    )
    assert (stream.samples_per_epoch, stream.num_samples) == (5 + 12, 60)
    visited = np.zeros(14, int)
    for epoch in range(4):
        consumed = np.zeros(60, bool)
        assert stream.remaining(epoch, consumed) == 17
        ids = stream._sample_ids[(planned := stream.plan(epoch, consumed, Plan()).ravel())[planned >= 0]]
        assert len(set(ids)) == 17, "a sample that is visited again has an id of its own"
        visited += np.bincount(ids % 20, minlength=14)
        consumed[ids[:7]] = True
        assert stream.remaining(epoch, consumed) == 10
        left = stream.plan(epoch, consumed, Plan()).ravel()
        assert set(stream._sample_ids[left[left >= 0]]) == set(ids[7:])
    assert (visited[:10] == 2).all() and (visited[10:] == 12).all()


def test_a_weight_without_samples_is_refused():
    with pytest.raises(ValueError, match="the weight 2 of celeba has no effect"):
        corpus_shares(pa.chunked_array([["a/1.jpg"]]), (("celeba", 2.0),))


def rows(splits: list[list[dict]]) -> dict[int, np.ndarray]:
    """Pixels and masks of every sample as one flat array."""
    return {
        int(sample_id): np.concatenate([batch["clip_BTHWC"][i].ravel(), batch["visible_BRV"][i].ravel()])
        for split in splits
        for batch in split
        for i, sample_id in enumerate(batch["sample_id_B"])
    }


def test_unusable_rows_stay_in_their_batch_and_are_flagged(cluster, corpus):
    bad = with_column(with_column(corpus, "uri", {3: "gone.mp4"}), "size", {8: 5})
    splits = consume(stream_of(bad), Plan())
    served = ids(splits[0]) + ids(splits[1])
    assert sorted(i for i in served if i >= 0) == list(range(VIDEOS))
    texts = {
        int(i): json.loads(text)["reason"]
        for batch in splits[0] + splits[1]
        for i, text, clip in zip(batch["sample_id_B"], batch["rejected_B"], batch["clip_BTHWC"], strict=True)
        if text and not clip.any()
    }
    assert texts == {3: "missing", 8: "changed"}


def test_denied_access_ends_the_stream_with_an_error(cluster, corpus):
    locked = FakeCatalog(corpus.table, Locked(corpus.storage.uri))
    with pytest.raises(Exception, match="AccessDenied"):
        consume(stream_of(locked), Plan())


def test_a_video_that_kills_its_process_ends_the_stream_after_a_few_tries(cluster, corpus):
    deadly = FakeCatalog(corpus.table, Deadly(corpus.storage.uri))
    with pytest.raises(Exception, match="(?i)actor"):
        consume(stream_of(deadly), Plan())
    deaths = Path(corpus.storage.uri, "deaths").read_text()
    assert len(deaths) == 3, "once and two retries"


def test_while_decoded_blocks_wait_for_a_slow_consumer_the_scheduler_leaves_the_cpu_to_training(cluster):
    import ray

    dataset = build_dataset(
        np.arange(1600).reshape(400, 4),  # more than the object store holds
        ray.put(pa.table({"sample_id": np.arange(1600)})),
        WideReader,
        epoch=0,
        same_draws_every=None,
        pool=DecodePool(min_actors=2, max_actors=2, cpus_per_actor=0.5, memory_per_actor=2**20),
        sample_bytes=2**20,
        consumers=1,
        in_order=False,
    )
    (iterator,) = dataset.streaming_split(1, equal=False)
    blocks = iter(iterator.iter_batches(batch_size=None, batch_format="numpy"))
    next(blocks)
    below = psutil.Process().children(recursive=True)
    schedulers = [process for process in below if process.name().startswith("ray::SplitCoord")]
    scheduler = max(schedulers, key=lambda process: process.create_time())  # others are of earlier streams
    time.sleep(6)  # until the object store is full
    before, begun = sum(scheduler.cpu_times()[:2]), time.monotonic()
    time.sleep(4)
    share = (sum(scheduler.cpu_times()[:2]) - before) / (time.monotonic() - begun)
    assert share < 0.5, f"it takes {share:.0%} of a CPU for waiting"


def test_marks_of_another_catalog_and_an_epoch_without_samples_are_refused(corpus):
    stream = stream_of(corpus)
    with pytest.raises(ValueError, match="consumed is"):
        stream.remaining(0, np.zeros(VIDEOS + 1, bool))
    with pytest.raises(ValueError, match="nothing is left"):
        stream.dataset(0, np.ones(VIDEOS, bool), Plan())


def test_only_usable_videos_of_the_split_belong_to_an_epoch(corpus):
    mixed = with_column(with_column(corpus, "split", {0: "test", 1: "test"}), "status", {5: "decode"})
    stream = stream_of(mixed)
    assert (stream.num_samples, stream.samples_per_epoch) == (VIDEOS, VIDEOS - 3)
    planned_GB = stream.plan(0, np.zeros(VIDEOS, bool), Plan())
    usable = eligible_videos(mixed, "train", SAMPLE)["sample_id"].to_numpy()
    assert sorted(usable[planned_GB[planned_GB >= 0]]) == sorted(set(range(VIDEOS)) - {0, 1, 5})
    with pytest.raises(ValueError, match=r"the splits \['test', 'train'\]"):
        stream_of(mixed, split="dev")


def test_videos_that_the_clip_policy_drops_belong_to_no_epoch_and_are_named(corpus):
    clip = SAMPLE.clip
    span = (clip.frames - 1) * clip.stride + 1
    mixed = with_column(with_column(corpus, "frames", {3: span - 1, 4: span}), "status", {5: "decode"})
    drop = replace(SAMPLE, clip=replace(clip, short="drop"))
    assert set(eligible_videos(mixed, "train", drop)["sample_id"].to_pylist()) == set(range(VIDEOS)) - {3, 5}
    judged = judged_videos(mixed, drop).to_pylist()
    assert [(row["sample_id"], row["status"]) for row in judged if row["status"] != "ok"] == [
        (3, "too_short"),
        (5, "decode"),
    ]
    assert judged[3]["detail"] == f"{span - 1} frames"
    assert judged_videos(mixed, SAMPLE)["status"].to_pylist().count("ok") == VIDEOS - 1


def test_videos_without_a_face_belong_to_no_epoch_and_are_named_where_crops_follow_the_face(tmp_path):
    catalog = with_column(write_corpus(tmp_path, 6), "status", {5: "decode"})
    found = [faces("0.mp4", track()), faces("1.mp4"), faces("2.mp4", track())]
    glimpse = replace(track(), valid_T=np.arange(12) < SAMPLE.clip.frames - 1)
    later = [VideoFaces("3.mp4", "timeout", "slow", []), faces("4.mp4", glimpse)]
    annotations = write_annotations(Storage(tmp_path / "faces"), [found, later])
    catalog = replace(catalog, fingerprint=annotations.catalog_fingerprint)
    follows = replace(SAMPLE, crop=AlignConfig(size=36))
    judged = judged_videos(catalog, follows, annotations).to_pylist()
    assert [(row["status"], row["detail"]) for row in judged] == [
        ("ok", ""),
        ("no_face", "12 frames"),
        ("ok", ""),
        ("timeout", "slow"),
        ("no_face", f"{SAMPLE.clip.frames - 1} of 12 frames show a face"),
        ("decode", ""),
    ]
    stream = video_stream.stream_of(catalog, replace(CONFIG, sample=follows), annotations)
    assert (stream.num_samples, stream.samples_per_epoch) == (6, 2)
    masked = replace(SAMPLE, mask=AUMaskConfig(ratio=0.5))
    assert len(eligible_videos(catalog, "train", masked, annotations)) == 5, "a mask does without a face"
    with pytest.raises(ValueError, match="crops and masks that follow the face need the annotations"):
        video_stream.stream_of(catalog, replace(CONFIG, sample=follows))


def test_membership_of_batches_does_not_depend_on_the_number_of_workers(corpus):
    stream, nothing = stream_of(corpus), np.zeros(VIDEOS, bool)
    one, two = (stream.plan(2, nothing, Plan(workers=workers)) for workers in (1, 2))
    assert np.array_equal(one, two[: len(one)])


@pytest.mark.parametrize(
    "fields", [{"min_actors": 0}, {"min_actors": 3}, {"cpus_per_actor": 0}, {"fetch_threads": 0}, {"overfit": 0}]
)
def test_a_config_that_cannot_work_is_refused(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        replace(CONFIG, **fields)


@pytest.mark.soak
@pytest.mark.parametrize("done", [0.0, 0.37, 0.99])
def test_an_epoch_of_voxceleb_size_is_planned_in_two_seconds_and_decodes_within_ten(cluster, corpus, done, capsys):
    """1.1 million rows over the same few files, resumed at three points; both actors must be at work at once."""
    number = 1_100_000
    which = np.arange(number) % VIDEOS
    table = corpus.table.take(which).set_column(0, "sample_id", pa.array(np.arange(number)))
    stream = stream_of(FakeCatalog(table, corpus.storage))
    consumed = np.random.default_rng(0).random(number) < done
    start = time.monotonic()
    dataset = stream.dataset(0, consumed, Plan(micro_batch=32))
    planned = time.monotonic() - start
    iterators = dataset.streaming_split(2, equal=False)
    with ThreadPoolExecutor(2) as pool:
        firsts = list(pool.map(lambda it: (next(batches(it)), time.monotonic() - start), iterators))
    with capsys.disabled():
        print(f"\n{done:.0%} done: planned in {planned:.2f} s, first batches after {[f'{t:.1f}' for _, t in firsts]} s")
    assert planned < 2
    assert max(seconds for _, seconds in firsts) < 10
