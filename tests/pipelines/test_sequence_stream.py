"""The stream of windows: every window once in an epoch, each with its frames, features and labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from models.tokens import SEQUENCE_BATCH, check_batch
from pipelines.corpora.aff_wild2 import AFFECT_CLASSES
from pipelines.feature_store import FeatureStore
from pipelines.order import PADDING
from pipelines.sequence_stream import SequenceReader, SequenceStreamConfig, build_stream
from pipelines.sequences import WindowConfig
from pipelines.storage import Storage
from tests.pipelines.affect_corpus import (
    FACE,
    FRAMES,
    LEARNED,
    VOICE,
    expression,
    feature,
    has_image,
    write_catalog,
    write_stores,
)

WINDOW = WindowConfig(length=5, stride=3)


@dataclass(frozen=True)
class Plan:
    workers: int = 1
    accumulation: int = 1
    micro_batch: int = 4
    deterministic: bool = True


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> SequenceStreamConfig:
    folder = tmp_path_factory.mktemp("affect")
    catalog, _ = write_catalog(folder)
    return SequenceStreamConfig(
        catalog=catalog, protocol="all", videos=LEARNED, stores=write_stores(folder), window=WINDOW
    )


def reader_of(config: SequenceStreamConfig) -> SequenceReader:
    """As a decode actor makes it."""
    stream = build_stream(config)
    return stream._make_reader(stream._rows, epoch=0, same_draws_every=None)


def expected_windows() -> list[tuple[str, int]]:
    """Videos and starts, from the definition."""
    return [(video, start) for video in LEARNED for start in range(0, FRAMES[video], WINDOW.stride)]


def test_every_window_of_the_videos_comes_once_in_an_epoch_and_in_another_order_in_the_next(
    config: SequenceStreamConfig,
) -> None:
    stream = build_stream(config)
    count = len(expected_windows())
    nothing = np.zeros(stream.num_samples, bool)
    orders = [stream.plan(epoch, nothing, Plan()).ravel() for epoch in (0, 1)]
    for order in orders:
        assert sorted(order[order != PADDING].tolist()) == list(range(count))
    assert stream.samples_per_epoch == stream.num_samples == count
    assert orders[0].tolist() != orders[1].tolist()
    consumed = np.arange(count) < 10
    left = stream.plan(0, consumed, Plan()).ravel()
    assert sorted(left[left != PADDING].tolist()) == list(range(10, count))


def test_a_window_has_the_features_and_labels_of_its_frames_and_padding_beyond_the_video(
    config: SequenceStreamConfig,
) -> None:
    reader, windows = reader_of(config), expected_windows()
    batch = reader.read(np.array([*range(len(windows)), PADDING]))
    check_batch(batch, SEQUENCE_BATCH)
    assert batch["feature_BTD"].shape == (len(windows) + 1, WINDOW.length, FACE + VOICE)
    assert batch["target_BTK"].shape[-1] == len(AFFECT_CLASSES)
    assert batch["sample_id_B"].tolist() == [*range(len(windows)), PADDING] and not any(batch["rejected_B"])
    for row, (video, start) in enumerate(windows):
        for t in range(WINDOW.length):
            frame, is_inside = start + t, start + t < FRAMES[video]
            assert batch["valid_BT"][row, t] == is_inside
            assert batch["present_BT"][row, t] == (is_inside and has_image(frame))
            if not is_inside:
                assert not batch["feature_BTD"][row, t].any() and np.isnan(batch["target_BTK"][row, t]).all()
                continue
            np.testing.assert_array_equal(batch["feature_BTD"][row, t, FACE:], feature(video, frame, VOICE))
            if has_image(frame):
                np.testing.assert_array_equal(batch["feature_BTD"][row, t, :FACE], feature(video, frame, FACE))
            label, target_8 = expression(frame), batch["target_BTK"][row, t, :8]
            assert np.isnan(target_8).all() if label < 0 else target_8.tolist() == np.eye(8)[label].tolist()


def test_a_row_without_a_sample_is_all_padding(config: SequenceStreamConfig) -> None:
    batch = reader_of(config).read([PADDING])
    check_batch(batch, SEQUENCE_BATCH)
    assert not batch["valid_BT"].any() and not batch["feature_BTD"].any() and np.isnan(batch["target_BTK"]).all()


def test_passes_over_few_videos_see_the_same_windows_under_ids_of_their_own(config: SequenceStreamConfig) -> None:
    twice = build_stream(replace(config, passes_per_epoch=2))
    count = len(expected_windows())
    assert (twice.samples_per_epoch, twice.num_samples) == (2 * count, 2 * count)
    first, again = reader_of(replace(config, passes_per_epoch=2)).read([1]), reader_of(config).read([1])
    later = reader_of(replace(config, passes_per_epoch=2)).read([1 + count])
    assert later["sample_id_B"].tolist() == [1 + count]
    for name in ("feature_BTD", "target_BTK", "valid_BT"):
        np.testing.assert_array_equal(first[name], again[name])
        np.testing.assert_array_equal(first[name], later[name])


def test_the_fingerprint_is_of_all_that_decides_the_windows(config: SequenceStreamConfig, tmp_path: Path) -> None:
    face, voice = config.stores
    catalog, other = write_catalog(tmp_path)  # the same corpus again, in another place
    beside = tuple(FeatureStore.open(address).place.uri for address in write_stores(tmp_path / "stores"))
    known = build_stream(config).fingerprint
    assert build_stream(replace(config, catalog=catalog, stores=beside)).fingerprint == known
    changed = [
        replace(config, protocol="expr"),
        replace(config, videos=LEARNED[:3]),
        replace(config, window=WindowConfig(5, 2)),
        replace(config, missing="mask"),
        replace(config, stores=(voice, face)),
        replace(config, stores=(face,)),
    ]
    found = [build_stream(one).fingerprint for one in changed]
    # A label of a frame without an image is in no catalog.
    place = Storage(other.root)
    file = next(item.name for item in place.list() if item.name.endswith("VA_Estimation_Challenge/Train_Set/v1.txt"))
    header, _, *rest = place.read(file).decode().splitlines()
    place.write(file, "\n".join([header, "0.5,0.5", *rest]).encode())
    found.append(build_stream(replace(config, catalog=catalog)).fingerprint)
    assert not has_image(0) and len({known, *found}) == len(changed) + 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol": ""}, "protocol must not be empty"),
        ({"videos": ()}, "videos must not be empty"),
        ({"stores": ()}, "stores must not be empty"),
        ({"split": "dev"}, "split='dev' has no effect on windows; name the videos"),
    ],
)
def test_a_config_that_names_nothing_is_refused(
    config: SequenceStreamConfig, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        replace(config, **changes)


def test_labels_and_features_that_are_not_there_are_named(config: SequenceStreamConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no labels of protocol 'mtl'; it has expr, au, va"):
        build_stream(replace(config, protocol="mtl"))
    with pytest.raises(ValueError, match="there is no feature store at .*extract_features.py makes one"):
        build_stream(replace(config, stores=(str(tmp_path / "nothing"),)))
