"""Labelled videos: which belong to a protocol's parts, batches of them on Ray, and what evaluation reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from models.tokens import LABELLED_BATCH, check_batch
from pipelines.alignment import AlignConfig
from pipelines.batch_reader import VIDEO_COLUMNS
from pipelines.catalog import Catalog, save
from pipelines.clips import ClipConfig
from pipelines.labelled_reader import LabelledBatchReader, read_test_batch
from pipelines.labelled_stream import LabelledStreamConfig, build_stream, chosen_videos, stream_of
from pipelines.labelled_videos import (
    check_all_usable,
    in_parts,
    labelled_videos,
    split_validation,
    targets,
    usable_videos,
)
from pipelines.order import PADDING
from pipelines.storage import Storage
from pipelines.stream import batches
from tests.pipelines.face_samples import faces, track, write_annotations
from tests.pipelines.labelled_corpus import (
    LABELLED_SAMPLE,
    PROTOCOL,
    UNLABELLED,
    VIDEOS,
    class_of,
    part_of,
    with_status,
    write_labelled,
)

CONFIG = LabelledStreamConfig(
    catalog="unused", protocol="toy", parts=("1", "2"), sample=LABELLED_SAMPLE, max_actors=1, cpus_per_actor=0.5
)
LEARNED = [i for i in range(VIDEOS) if i != UNLABELLED and part_of(i) != "3"]


@dataclass(frozen=True)
class Plan:
    workers: int = 1
    accumulation: int = 1
    micro_batch: int = 4
    deterministic: bool = True


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> Catalog:
    return write_labelled(tmp_path_factory.mktemp("labelled"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray = pytest.importorskip("ray")
    ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=200 * 2**20, log_to_driver=False)
    yield
    ray.shutdown()


def reader(catalog: Catalog, **options) -> LabelledBatchReader:
    videos = labelled_videos(catalog, PROTOCOL)
    return LabelledBatchReader(videos, catalog.storage, LABELLED_SAMPLE, epoch=0, fetch_threads=2, **options)


def table(people: list[str], classes: list[int], *, num_classes: int = 3) -> pa.Table:
    """Labelled videos as far as a split must know them."""
    target = pa.FixedSizeListArray.from_arrays(np.eye(num_classes, dtype=np.float32)[classes].ravel(), num_classes)
    return pa.table({"sample_id": np.arange(len(people)), "subject": people, "target": target})


def test_the_videos_of_a_protocol_have_parts_and_targets_and_the_others_are_left_out(catalog: Catalog) -> None:
    videos = labelled_videos(catalog, PROTOCOL)
    assert videos.column_names == [*VIDEO_COLUMNS, "subject", "status", "detail", "part", "target"]
    ids = videos["sample_id"].to_pylist()
    assert ids == [i for i in range(VIDEOS) if i != UNLABELLED]
    assert videos["part"].to_pylist() == [part_of(i) for i in ids]
    assert targets(videos).argmax(1).tolist() == [class_of(i) for i in ids] and np.all(targets(videos).sum(1) == 1)
    assert videos.schema.field("target").type == pa.list_(pa.float32(), 2)
    assert set(in_parts(videos, ["2"])["sample_id"].to_pylist()) == {i for i in ids if part_of(i) == "2"}
    with pytest.raises(ValueError, match=r"no video is in the parts \['4', 'train'\]; there are \['1', '2', '3'\]"):
        in_parts(videos, ["train", "1", "4"])


def test_unusable_videos_keep_their_row_and_are_neither_learned_from_nor_overlooked(tmp_path: Path) -> None:
    bad = with_status(write_labelled(tmp_path, {2: {"frames": 6}}), 4, "decode")
    drop = replace(LABELLED_SAMPLE, clip=ClipConfig(frames=4, stride=2, short="drop"))
    videos = labelled_videos(bad, PROTOCOL, drop)
    found = dict(zip(videos["sample_id"].to_pylist(), videos["status"].to_pylist(), strict=True))
    assert {i: status for i, status in found.items() if status != "ok"} == {2: "too_short", 4: "decode"}
    assert set(usable_videos(videos)["sample_id"].to_pylist()) == set(found) - {2, 4}
    with pytest.raises(ValueError, match=r"2 of 9 labelled videos .* 2\.mp4 \(too_short\), 4\.mp4 \(decode\); give"):
        check_all_usable(videos)
    check_all_usable(usable_videos(videos))
    with pytest.raises(ValueError, match="none of the 1 labelled videos"):
        usable_videos(videos.slice(2, 1))


def test_a_batch_keeps_the_contract_and_rows_without_a_usable_video_are_all_zero(tmp_path: Path) -> None:
    catalog = write_labelled(tmp_path, {3: {"uri": "3gone.mp4"}})
    batch = reader(catalog).read([0, PADDING, 3, 1])
    check_batch(batch, LABELLED_BATCH)
    assert batch["clip_BRTHWC"].shape == (4, 2, 4, 32, 32, 3)
    assert batch["sample_id_B"].tolist() == [0, PADDING, 3, 1]
    assert batch["target_BK"].tolist() == [[1, 0], [0, 0], [0, 0], [0, 1]]
    assert [text and json.loads(text)["reason"] for text in batch["rejected_B"]] == ["", "", "missing", ""]
    assert batch["clip_BRTHWC"].any((1, 2, 3, 4, 5)).tolist() == [True, False, False, True]


def test_passes_over_a_small_set_see_the_same_clips_where_draws_come_again(catalog: Catalog) -> None:
    videos = labelled_videos(catalog, PROTOCOL)
    raised = videos.set_column(0, "sample_id", pa.array(videos["sample_id"].to_numpy() + VIDEOS))
    options = {"epoch": 0, "fetch_threads": 1, "same_draws_every": VIDEOS}
    first, later = (
        LabelledBatchReader(rows, catalog.storage, LABELLED_SAMPLE, **options).read([1, 2]) for rows in (videos, raised)
    )
    assert np.array_equal(first["clip_BRTHWC"], later["clip_BRTHWC"])
    assert later["sample_id_B"].tolist() == [1 + VIDEOS, 2 + VIDEOS]


def test_an_epoch_on_ray_serves_every_video_of_the_parts_once_with_its_own_target(cluster, catalog: Catalog) -> None:
    uri = f"{catalog.root}/catalog.parquet"
    save(catalog, uri)
    stream = build_stream(replace(CONFIG, catalog=uri))
    nothing = np.zeros(stream.num_samples, bool)
    (iterator,) = stream.dataset(1, nothing, Plan()).streaming_split(1, equal=False)
    served = {}
    for batch in batches(iterator):
        check_batch(batch, LABELLED_BATCH)
        for row, sample_id in enumerate(batch["sample_id_B"].tolist()):
            if sample_id != PADDING:
                assert sample_id not in served
                served[sample_id] = batch["target_BK"][row].tolist(), np.array(batch["clip_BRTHWC"][row])
    assert sorted(served) == LEARNED
    assert all(target[class_of(i)] == 1 for i, (target, _) in served.items())
    alone = LabelledBatchReader(
        labelled_videos(catalog, PROTOCOL), catalog.storage, LABELLED_SAMPLE, epoch=1, fetch_threads=1
    )
    assert all(np.array_equal(served[i][1], alone.read([i])["clip_BRTHWC"][0]) for i in LEARNED[:3])


def test_the_fingerprint_tells_catalog_protocol_parts_and_what_is_held_out(catalog: Catalog) -> None:
    variants = [
        CONFIG,
        replace(CONFIG, parts=("1",)),
        replace(CONFIG, parts=("1", "3")),
        replace(CONFIG, validation_share=0.3),
        replace(CONFIG, validation_share=0.3, validation_seed=1),
    ]
    prints = [stream_of(catalog, config).fingerprint for config in variants]
    assert len(set(prints)) == len(prints) and all(catalog.fingerprint in text and "toy" in text for text in prints)


def test_what_is_held_out_for_validation_is_not_learned_from(catalog: Catalog) -> None:
    config = replace(CONFIG, validation_share=0.3)
    learned, held_out = chosen_videos(catalog, config)
    assert stream_of(catalog, config).samples_per_epoch == learned.num_rows < len(LEARNED)
    assert sorted(learned["sample_id"].to_pylist() + held_out["sample_id"].to_pylist()) == LEARNED
    assert not set(learned["subject"].to_pylist()) & set(held_out["subject"].to_pylist())
    assert chosen_videos(catalog, CONFIG)[1].num_rows == 0


def test_crops_that_follow_the_face_need_annotations_and_leave_out_videos_without_one(catalog: Catalog) -> None:
    follows = replace(LABELLED_SAMPLE, crop=AlignConfig(size=36, flip=False))
    with pytest.raises(ValueError, match="need the annotations"):
        stream_of(catalog, replace(CONFIG, sample=follows))
    found = [faces(f"{i}.mp4", *[track()] * (i != 3)) for i in range(VIDEOS)]
    place = Storage(f"{catalog.root}/faces")
    annotations = write_annotations(place, [found], catalog=catalog.fingerprint)
    with pytest.raises(ValueError, match="annotations have no effect"):
        stream_of(catalog, CONFIG, annotations)
    assert stream_of(catalog, replace(CONFIG, sample=follows), annotations).samples_per_epoch == len(LEARNED) - 1


def test_a_split_is_by_subject_repeatable_and_grows_with_its_share() -> None:
    rng = np.random.default_rng(0)
    people = [f"p{i}" for i in rng.integers(60, size=900)]
    videos = table(people, rng.integers(3, size=900).tolist())
    small, same, large = (split_validation(videos, share, 7)[1] for share in (0.1, 0.1, 0.3))
    assert small.equals(same) and set(small["subject"].to_pylist()) < set(large["subject"].to_pylist())
    assert 90 <= small.num_rows < 120 and 270 <= large.num_rows < 300
    learned, _ = split_validation(videos, 0.1, 7)
    assert not set(learned["subject"].to_pylist()) & set(small["subject"].to_pylist())
    assert learned.num_rows + small.num_rows == 900
    assert set(split_validation(videos, 0.1, 8)[1]["subject"].to_pylist()) != set(small["subject"].to_pylist())


@pytest.mark.parametrize("seed", range(8))
def test_every_class_is_learned_from_and_validated_where_two_people_have_it(seed: int) -> None:
    people = [f"p{i // 2}" for i in range(40)]
    classes = [0] * 35 + [1] * 3 + [2] * 2  # of class 1 there are two people, of class 2 one
    learned, held_out = split_validation(table(people, classes), 0.1, seed)
    assert set(targets(learned).argmax(1)) == {0, 1, 2} and set(targets(held_out).argmax(1)) == {0, 1}
    assert held_out.num_rows <= 6


def test_a_split_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="no subject of 1"):
        split_validation(table(["p"] * 4, [0, 1, 2, 0]), 0.5, 0)
    with pytest.raises(ValueError, match="share=1"):
        split_validation(table(["p", "q"], [0, 0]), 1, 0)


def test_evaluation_reads_every_video_and_each_distinct_clip_once(catalog: Catalog) -> None:
    videos, config = labelled_videos(catalog, PROTOCOL), replace(LABELLED_SAMPLE, clip=ClipConfig(frames=4, stride=1))
    read = read_test_batch(videos, [5, 0], storage=catalog.storage, config=config, clips=3)
    assert read["sample_id_V"].tolist() == [5, 5, 5, 0, 0, 0]
    assert read["clip_VTHWC"].shape == (6, 4, 32, 32, 3) and read["clip_VTHWC"].dtype == np.uint8
    short = replace(LABELLED_SAMPLE, clip=ClipConfig(frames=4, stride=8))
    read = read_test_batch(videos, [5, 0], storage=catalog.storage, config=short, clips=3)
    assert read["sample_id_V"].tolist() == [5, 0]


def test_evaluation_names_a_video_that_cannot_be_used_and_never_skips_it(tmp_path: Path) -> None:
    catalog = with_status(write_labelled(tmp_path, {3: {"uri": "3gone.mp4"}}), 4, "timeout")
    videos, where = labelled_videos(catalog, PROTOCOL), {"storage": catalog.storage, "config": LABELLED_SAMPLE}
    with pytest.raises(ValueError, match=r"test video 3gone\.mp4 cannot be used: missing"):
        read_test_batch(videos, [0, 3], clips=2, **where)
    with pytest.raises(ValueError, match=r"test video 4\.mp4 cannot be used: timeout"):
        read_test_batch(videos, [4], clips=2, **where)
    with pytest.raises(ValueError, match="need the annotations"):
        follows = replace(LABELLED_SAMPLE, crop=AlignConfig(size=36, flip=False))
        read_test_batch(videos, [0], storage=catalog.storage, config=follows, clips=2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"protocol": ""}, "protocol must be"),
        ({"parts": ()}, "parts="),
        ({"parts": ("1", "1")}, "parts="),
        ({"split": "dev"}, "choose parts"),
        ({"validation_share": 1.0}, "validation_share"),
        ({"validation_seed": 3}, "no effect without validation_share"),
    ],
)
def test_a_config_that_cannot_work_or_would_have_no_effect_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **fields)


def test_an_unknown_protocol_is_refused_with_those_there_are(catalog: Catalog) -> None:
    with pytest.raises(ValueError, match="no protocol 'other'; it has toy"):
        stream_of(catalog, replace(CONFIG, protocol="other"))


def test_a_balanced_draw_takes_as_many_of_each_class_and_the_same_for_every_epoch(catalog):
    whole, _ = chosen_videos(catalog, CONFIG)
    drawn, _ = chosen_videos(catalog, replace(CONFIG, per_class=2))
    assert np.bincount(targets(drawn).argmax(1)).tolist() == [2, 2]
    ids, all_ids = drawn["sample_id"].to_pylist(), whole["sample_id"].to_pylist()
    assert ids == sorted(ids) and set(ids) < set(all_ids)
    assert drawn.equals(chosen_videos(catalog, replace(CONFIG, per_class=2))[0])
    other = replace(CONFIG, per_class=2, sample=replace(LABELLED_SAMPLE, seed=9))
    assert chosen_videos(catalog, other)[0]["sample_id"].to_pylist() != ids
    stream = stream_of(catalog, replace(CONFIG, per_class=2))
    assert stream.samples_per_epoch == 4
    assert stream.fingerprint != stream_of(catalog, CONFIG).fingerprint
    assert chosen_videos(catalog, replace(CONFIG, per_class=1000))[0].num_rows == whole.num_rows


def test_what_cannot_be_used_is_not_drawn(catalog):
    whole, _ = chosen_videos(catalog, CONFIG)
    first = whole["sample_id"][0].as_py()
    bad = with_status(catalog, first, "decode")
    drawn, _ = chosen_videos(bad, replace(CONFIG, per_class=1000))
    assert first not in drawn["sample_id"].to_pylist() and drawn.num_rows == whole.num_rows - 1
