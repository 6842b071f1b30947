"""A toy corpus of images in folders and archives, and catalogs of it that are built in this process."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import Any, Literal

import cv2
import numpy as np
import pyarrow as pa
import pytest

from pipelines import catalog_build, catalog_listing
from pipelines.catalog import Catalog
from pipelines.catalog_build import Built, build
from pipelines.catalog_probe import probe_block, probed_schema
from pipelines.corpora.registry import Labels
from pipelines.image_cleaning import CleaningConfig
from pipelines.still_image import is_still_image
from pipelines.storage import Storage

SIZE = 40
Packing = Literal["folder", "stored.zip", "deflated.zip", "shard.tar"]
PACKINGS: tuple[Packing, ...] = ("folder", "stored.zip", "deflated.zip", "shard.tar")


def _parse(name: str) -> Labels | None:
    path = PurePosixPath(name)
    return Labels("dev", f"person {path.stem}", path.stem) if is_still_image(name) else None


CORPUS = SimpleNamespace(LAYOUT="**/<image>.png", READS_ARCHIVES=True, parse=_parse, settle=lambda table: table)


def picture(number: int, *, height: int = SIZE, width: int = SIZE) -> np.ndarray:
    """uint8 [H, W, 3], RGB: smooth, and no two numbers alike."""
    ramp_HW = np.linspace(0, 60, height)[:, None] + np.linspace(0, 40, width)[None]
    return np.stack([ramp_HW + 10 * number, 120 - ramp_HW, np.full_like(ramp_HW, 20 * number)], -1).astype(np.uint8)


def encoded(image_HWC: np.ndarray, suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, image_HWC[..., ::-1])[1].tobytes()


def pictures(number: int) -> dict[str, bytes]:
    """PNG files by name."""
    return {f"{index:03d}.png": encoded(picture(index)) for index in range(number)}


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


def tarred(files: Mapping[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()


def write(place: Storage, files: Mapping[str, bytes], packing: Packing) -> None:
    """The files below `a/<packing>`, a folder or an archive."""
    if packing == "folder":
        for name, content in files.items():
            place.write(f"a/folder/{name}", content)
    elif packing == "shard.tar":
        place.write(f"a/{packing}", tarred(files))
    else:
        place.write(f"a/{packing}", zipped(files, zipfile.ZIP_STORED if "stored" in packing else zipfile.ZIP_DEFLATED))


def build_here(place: Storage, *, rules: Any = CORPUS, **options: Any) -> Built:
    """The catalog of the corpus at `place`, of the toy kind unless told otherwise, without Ray."""

    def probe_here(pending: pa.Table, storage: Storage, cleaning: CleaningConfig, *, cpus: float) -> list[pa.Table]:
        return [probe_block(pending, storage, cleaning).cast(probed_schema())]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog_build, "probe_all", probe_here)
        for module in (catalog_build, catalog_listing):
            patch.setattr(module, "find", lambda name: rules)
        patch.setattr(catalog_listing, "find_labelled", lambda name: rules if hasattr(rules, "label") else None)
        return build("toy", place.uri, **options)


def rows(catalog: Catalog) -> dict[str, dict[str, Any]]:
    """The rows of a catalog by uri."""
    return {row["uri"]: row for row in catalog.table.to_pylist()}
