from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import pyarrow as pa
import pytest
import ray

from pipelines.catalog import Catalog
from pipelines.catalog_build import Built, build, read_exclusions
from pipelines.catalog_probe import probe_block
from pipelines.frame_folder import probe_folder
from pipelines.image_cleaning import CleaningConfig
from pipelines.storage import AccessDenied, Storage, content_digest
from tests.pipelines import media
from tests.pipelines.image_corpus import encoded, picture, zipped

GOOD = media.video(12)
OTHER = media.video(20, seed=1)


@pytest.fixture(scope="module", autouse=True)
def cluster(s3_variables: dict[str, str]) -> Iterator[None]:
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=300 * 2**20,
        runtime_env={"env_vars": s3_variables},
        log_to_driver=False,
    )
    yield
    ray.shutdown()


VOXCELEB = {
    "dev/mp4/id00001/aaa/00001.mp4": GOOD,
    "dev/mp4/id00001/aaa/00002.mp4": OTHER,
    "dev/mp4/id00002/bbb/00001.mp4": GOOD[: len(GOOD) // 2],
    "dev/mp4/id00002/bbb/00002.mp4": media.ERROR_PAGE,
    "dev/mp4/id00003/ccc/00001.mp4": b"",
    "test/mp4/id00009/ddd/00001.mp4": media.picture(),
    "test/mp4/id00009/ddd/00002.mp4": GOOD,
    "vox2_meta.csv": b"id,sex",
}


def fill(storage: Storage, objects: dict[str, bytes] = VOXCELEB) -> Storage:
    for name, data in objects.items():
        storage.write(name, data)
    return storage


@pytest.fixture
def corpus(tmp_path: Path) -> Storage:
    return fill(Storage(tmp_path / "voxceleb2"))


def statuses(catalog: Catalog) -> dict[str, str]:
    return dict(zip(catalog.table["uri"].to_pylist(), catalog.table["status"].to_pylist(), strict=True))


def build_vox(root: Storage, **options: object) -> Built:
    return build("voxceleb2", root.uri, **options)  # type: ignore[arg-type]


def test_every_video_has_a_row_with_what_decoding_found_or_the_reason(corpus: Storage) -> None:
    built = build_vox(corpus)
    assert (built.probed, built.reused, built.ignored) == (7, 0, 1)
    assert statuses(built.catalog) == {
        "dev/mp4/id00001/aaa/00001.mp4": "ok",
        "dev/mp4/id00001/aaa/00002.mp4": "ok",
        "dev/mp4/id00002/bbb/00001.mp4": "container",
        "dev/mp4/id00002/bbb/00002.mp4": "not_media",
        "dev/mp4/id00003/ccc/00001.mp4": "empty",
        "test/mp4/id00009/ddd/00001.mp4": "single_frame",
        "test/mp4/id00009/ddd/00002.mp4": "ok",
    }
    row = built.catalog.table.slice(1, 1).to_pylist()[0]
    assert (row["sample_id"], row["split"], row["subject"], row["video"]) == (1, "dev", "id00001", "aaa")
    assert (row["frames"], row["fps"], row["width"], row["height"]) == (20, 25.0, 96, 64)
    assert (row["size"], row["digest"], row["seconds"]) == (len(OTHER), content_digest(OTHER), 0.8)
    assert built.catalog.table["detail"][2].as_py().startswith("the container cannot be opened")


def test_a_local_and_a_remote_copy_have_the_same_fingerprint(corpus: Storage, s3_bucket: str) -> None:
    remote = fill(Storage(s3_bucket).child("vox"))
    local_built, remote_built = build_vox(corpus), build_vox(remote, cpus=0.5)
    assert remote_built.catalog.fingerprint == local_built.catalog.fingerprint
    assert remote_built.catalog.root == f"{s3_bucket}/vox"
    again = build_vox(remote, previous=remote_built.catalog)
    assert (again.probed, again.reused) == (0, 7)


def test_only_new_and_changed_files_are_decoded_again(corpus: Storage) -> None:
    first = build_vox(corpus)
    unchanged = build_vox(corpus, previous=first.catalog)
    assert (unchanged.probed, unchanged.reused) == (0, 7)
    assert unchanged.catalog == first.catalog

    corpus.write("dev/mp4/id00002/bbb/00001.mp4", GOOD)  # repaired
    corpus.write("dev/mp4/id00000/new/00001.mp4", OTHER)  # sorts before all others
    corpus.remove("dev/mp4/id00001/aaa/00001.mp4")
    changed = build_vox(corpus, previous=unchanged.catalog)
    assert (changed.probed, changed.reused) == (2, 5)
    assert changed.catalog == build_vox(corpus).catalog
    assert changed.catalog.fingerprint != first.catalog.fingerprint


def test_excluded_people_and_videos_lose_their_rows_and_the_fingerprint_tells(corpus: Storage) -> None:
    first = build_vox(corpus)
    exclusions = read_exclusions(
        "# withdrawn\nid00002  # a person\n\nid00001/aaa\ntest/mp4/id00009/ddd/00001.mp4\nid77777\n"
    )
    built = build_vox(corpus, previous=first.catalog, exclusions=exclusions)
    assert list(statuses(built.catalog)) == ["dev/mp4/id00003/ccc/00001.mp4", "test/mp4/id00009/ddd/00002.mp4"]
    assert built.catalog.table["sample_id"].to_pylist() == [0, 1]
    assert (built.excluded, built.probed, built.unmatched_exclusions) == (5, 0, ("id77777",))
    assert built.catalog.exclusions == exclusions
    without_list = fill(Storage(corpus.uri).child("rest"), {name: VOXCELEB[name] for name in statuses(built.catalog)})
    assert build_vox(without_list).catalog.fingerprint != built.catalog.fingerprint


def test_a_person_in_both_splits_stops_the_build_before_anything_is_decoded(corpus: Storage) -> None:
    corpus.write("test/mp4/id00001/eee/00001.mp4", GOOD)
    with pytest.raises(ValueError, match="id00001"):
        build_vox(corpus)


def test_a_root_without_videos_of_the_corpus_is_refused_with_the_layout(tmp_path: Path) -> None:
    fill(Storage(tmp_path), {"video.mp4": GOOD})
    with pytest.raises(ValueError, match="names like .*idNNNNN"):
        build_vox(Storage(tmp_path))


def test_any_folder_of_videos_is_a_corpus(tmp_path: Path) -> None:
    fill(Storage(tmp_path), {"anna/1.mp4": GOOD, "anna/2.MOV": GOOD, "bert/x/3.mkv": media.remux(OTHER, "matroska")})
    built = build("folder", str(tmp_path))
    assert set(built.catalog.table["status"].to_pylist()) == {"ok"}
    assert set(built.catalog.table["split"].to_pylist()) == {"dev", "test"}


def test_a_file_that_vanishes_or_grows_after_the_listing_is_named(corpus: Storage) -> None:
    names = ["dev/mp4/id00001/aaa/00001.mp4", "dev/mp4/id00001/aaa/00002.mp4"]
    block = pa.table({"uri": names, "kind": ["video"] * 2, "size": [len(GOOD), len(OTHER)], "position": [4, 9]})
    for name, values in {"archive_offset": [-1, -1], "archive_bytes": [0, 0]}.items():
        block = block.append_column(name, pa.array(values))
    corpus.remove(names[0])
    corpus.write(names[1], OTHER + b"more")
    found = probe_block(block, corpus, CleaningConfig())
    assert found["status"].to_pylist() == ["missing", "changed"]
    assert found["position"].to_pylist() == [4, 9]


def test_a_dead_link_is_missing_and_looked_at_again_the_next_time(corpus: Storage) -> None:
    link = Path(corpus.uri) / "dev/mp4/id00001/aaa/00003.mp4"
    link.symlink_to("/nowhere/at/all")
    built = build_vox(corpus)
    assert statuses(built.catalog)["dev/mp4/id00001/aaa/00003.mp4"] == "missing"
    assert build_vox(corpus, previous=built.catalog).probed == 1


class RefusingStorage(Storage):
    def read(self, name: str) -> bytes:
        raise AccessDenied(f"cannot read {name}")


def test_refused_access_is_never_taken_for_bad_videos(corpus: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.catalog_build.Storage", RefusingStorage)
    with pytest.raises(AccessDenied, match="cannot read dev/mp4"):
        build_vox(corpus)


IMAGES = [cv2.imencode(".png", image_HWC)[1].tobytes() for image_HWC in media.moving_square(4)]
LISTED = """path,label,subject
anna/1,calm,p1
anna/2,glad,p1
bert.mp4,calm,p2
carl,glad,p3
dora,calm,p4
emil,glad,p5
finn,glad,p6
"""


@pytest.fixture
def folders(tmp_path: Path) -> Storage:
    """A table of one's own: six folders of images and a video, of six people whom only labels.csv names."""
    folders = ["anna/1", "anna/2", "carl", "dora", "emil", "finn"]
    images = {f"{folder}/{index}.png": image for folder in folders for index, image in enumerate(IMAGES)}
    return fill(Storage(tmp_path / "table"), {**images, "bert.mp4": GOOD, "labels.csv": LISTED.encode()})


def test_a_folder_of_images_is_one_video_and_known_by_all_its_images(folders: Storage) -> None:
    built = build("table", folders.uri)
    assert (built.probed, built.reused, built.ignored) == (7, 0, 1)
    rows = {row["uri"]: row for row in built.catalog.table.to_pylist()}
    assert {uri: row["kind"] for uri, row in rows.items()} == {
        **dict.fromkeys(("anna/1", "anna/2", "carl", "dora", "emil", "finn"), "frames"),
        "bert.mp4": "video",
    }
    row = rows["anna/2"]
    assert (row["size"], row["frames"], row["fps"]) == (sum(map(len, IMAGES)), len(IMAGES), 25.0)
    assert (row["width"], row["height"], row["status"], row["subject"]) == (96, 64, "ok", "p1")
    _, digest = probe_folder(folders, "anna/2")
    assert row["digest"] == digest and row["etag"] != rows["anna/1"]["etag"]


def test_a_changed_image_is_looked_at_again_and_the_other_folders_are_not(folders: Storage) -> None:
    first = build("table", folders.uri)
    assert build("table", folders.uri, previous=first.catalog).probed == 0
    folders.write("carl/2.png", IMAGES[0])
    changed = build("table", folders.uri, previous=first.catalog)
    assert (changed.probed, changed.reused) == (1, 6)
    before, after = ({row["uri"]: row["digest"] for row in one.catalog.table.to_pylist()} for one in (first, changed))
    assert [uri for uri in before if before[uri] != after[uri]] == ["carl"]
    assert changed.catalog.fingerprint != first.catalog.fingerprint

    folders.write("dora/1.png", b"no image")
    broken = build("table", folders.uri, previous=changed.catalog)
    assert broken.probed == 1 and statuses(broken.catalog)["dora"] == "decode"


def test_a_folder_is_excluded_by_its_name_and_the_list_may_go_on_naming_it(folders: Storage) -> None:
    built = build("table", folders.uri, exclusions=["anna/2", "nobody"])
    assert "anna/2" not in statuses(built.catalog) and "anna/1" in statuses(built.catalog)
    assert (built.excluded, built.unmatched_exclusions) == (1, ("nobody",))


def test_a_person_whom_only_the_list_of_labels_knows_can_withdraw(folders: Storage) -> None:
    built = build("table", folders.uri, exclusions=["p1"])
    assert set(statuses(built.catalog)) == {"bert.mp4", "carl", "dora", "emil", "finn"}
    assert (built.excluded, built.probed, built.unmatched_exclusions) == (2, 5, ())
    assert built.catalog.exclusions == ("p1",)
    assert built.catalog.table["sample_id"].to_pylist() == list(range(5))


def test_images_of_an_archive_have_the_same_catalog_on_a_disk_and_in_a_bucket(tmp_path: Path, s3_bucket: str) -> None:
    images = {f"train_{number:05d}": encoded(picture(number, height=20 + number), ".jpg") for number in range(9)}
    files = {f"aligned/{name}_aligned.jpg": content for name, content in images.items()}
    packed, cleaning, found = {"basic/Image/aligned.zip": zipped(files)}, CleaningConfig(min_side=25), []
    for place in (Storage(tmp_path), Storage(s3_bucket).child("raf")):
        fill(place, packed)
        built = build("raf_db", place.uri, cleaning=cleaning)
        assert (built.probed, built.catalog.counts()) == (9, {"ok": 4, "too_small": 5})
        again = build("raf_db", place.uri, previous=built.catalog, cleaning=cleaning)
        assert (again.probed, again.reused) == (0, 9)
        found.append(built.catalog)
    assert found[0].fingerprint == found[1].fingerprint
