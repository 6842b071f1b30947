"""Two tiny corpora of face images, RAF-DB in a folder and CelebA in a tar archive. They share an image, and one is
damaged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jobs.parts.face_config import FaceCorporaConfig
from pipelines.catalog import save
from pipelines.corpora import celeba, raf_db
from pipelines.storage import Storage
from tests.pipelines.image_corpus import build_here, encoded, picture, tarred

RULES = {"raf_db": raf_db, "celeba": celeba}
LEARNED = {
    "raf_db": tuple(f"raf_db/basic/Image/aligned/train_{index:05d}_aligned.jpg" for index in range(1, 7)),
    "celeba": tuple(f"celeba/img_align_celeba.tar/{index:06d}.jpg" for index in range(1, 4)),
}
"""Uris of the usable training images in a union, the first of which has a copy in the other corpus."""
HELD_OUT = ("raf_db/basic/Image/aligned/test_0001_aligned.jpg", "celeba/img_align_celeba.tar/000005.jpg")
DAMAGED = "raf_db/basic/Image/aligned/train_00007_aligned.jpg"
DUPLICATE = "celeba/img_align_celeba.tar/000004.jpg"


def write_faces(
    folder: Path, *, weights: Mapping[str, float] | None = None, names: tuple[str, ...] = ("raf_db", "celeba")
) -> FaceCorporaConfig:
    """Pictures of 72x72 pixels, no two alike but one, below `folder`."""
    uris = [*LEARNED["raf_db"], *LEARNED["celeba"], *HELD_OUT, DAMAGED]
    files = {uri: encoded(picture(number, height=72, width=72), ".jpg") for number, uri in enumerate(uris)}
    files[DUPLICATE] = files[LEARNED["raf_db"][0]]
    files[DAMAGED] = files[DAMAGED][: len(files[DAMAGED]) // 2]
    place = Storage(folder)
    for uri, content in files.items():
        if uri.startswith("raf_db/"):
            place.write(uri, content)
    members = {uri.rpartition("/")[2]: content for uri, content in sorted(files.items()) if uri.startswith("celeba/")}
    place.write("celeba/img_align_celeba.tar", tarred(members))
    part = {HELD_OUT[1].rpartition("/")[2]: 1}
    place.write("celeba/identity_CelebA.txt", _listed({image: image[5] for image in members}))
    place.write("celeba/list_eval_partition.txt", _listed({image: part.get(image, 0) for image in members}))
    roots = {name: place.full(name) for name in names}
    return FaceCorporaConfig(names=names, roots=roots, weights=dict(weights or {}))


def catalog_faces(corpus: FaceCorporaConfig, home: Storage) -> None:
    """Leaves the catalog of each corpus where runs look for it, without Ray."""
    for name, root in corpus.roots.items():
        save(build_here(Storage(root), rules=RULES[name]).catalog, home.full(f"catalogs/{name}-0123456789ab.parquet"))


def _listed(values: Mapping[str, object]) -> bytes:
    return "".join(f"{image} {value}\n" for image, value in values.items()).encode()
