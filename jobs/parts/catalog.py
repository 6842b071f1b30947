"""Catalogs as a user asks for them: where the last one is found, where a new one goes, what is reported."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from jobs.parts.pretrain_config import CorpusConfig
from jobs.parts.synthetic_corpus import render
from pipelines.catalog import IMAGE, OK, Catalog, load, save
from pipelines.catalog_build import Built, build, read_exclusions
from pipelines.image_cleaning import CleaningConfig
from pipelines.storage import ObjectMissing, Storage, home

logger = logging.getLogger(__name__)

_REMOTE_CPUS = 0.5  # per decoding task: two share a CPU, one of them waits for the store


def build_and_save(
    corpus: str,
    root: str,
    *,
    output: str | None,
    previous: str | None,
    exclude: str | None,
    cleaning: CleaningConfig,
) -> dict[str, Any]:
    """Builds the catalog and writes it to `output`, or under its fingerprint to the home. Returns what to report."""
    if previous or output:
        known = load(previous) if previous else _readable(output or "")
    else:
        alike = (catalog for _, catalog in stored_catalogs(home(), corpus) if catalog.cleaning == cleaning)
        known = next(alike, None)
    built = _build(corpus, root, previous=known, exclude=exclude, cleaning=cleaning)
    for entry in built.unmatched_exclusions:
        logger.warning("exclusion %r matches no video; is it spelled as in the names below the root?", entry)
    uri = output or address(built.catalog, home())
    save(built.catalog, uri)
    return report(built, uri)


def prepare_catalog(corpus: CorpusConfig, place: Storage) -> tuple[str, Catalog]:
    """Address and content of the catalog of a corpus: the newest in `place`, built there where there is none.

    One that exists is used as it is, however much its corpus has grown: `jobs/build_catalog.py` brings it up to date,
    and a run that is resumed must find the data it began with. Ray must be up.
    """
    root = render(corpus, place).uri if corpus.is_synthetic else corpus.root or ""
    return find_or_build(corpus.layout, root, place, exclude=corpus.exclude)


def find_or_build(
    layout: str, root: str, place: Storage, *, exclude: str | None = None, cleaning: CleaningConfig | None = None
) -> tuple[str, Catalog]:
    """The newest catalog in `place` of a corpus at `root` less what `exclude` lists, its images cleaned so; built there
    if there is none."""
    known = find_catalog(layout, root, place, exclude=exclude, cleaning=cleaning)
    if known is not None:
        logger.info("catalog %s: %s", known[0], known[1].counts())
        return known
    built = _build(layout, root, previous=None, exclude=exclude, cleaning=cleaning)
    uri = address(built.catalog, place)
    save(built.catalog, uri)
    logger.info("catalog %s: %s, built from %s", uri, built.catalog.counts(), root)
    return uri, built.catalog


def find_catalog(
    layout: str, root: str, place: Storage, *, exclude: str | None = None, cleaning: CleaningConfig | None = None
) -> tuple[str, Catalog] | None:
    """The newest catalog in `place` of a corpus at `root` less what `exclude` lists, its images cleaned so; None where
    there is none."""
    asked = _exclusions(exclude), cleaning or CleaningConfig()
    for uri, catalog in stored_catalogs(place, layout):
        if Storage(catalog.root).uri == Storage(root).uri and (catalog.exclusions, catalog.cleaning) == asked:
            return uri, catalog
    return None


def address(catalog: Catalog, place: Storage) -> str:
    """Where a catalog is kept unless the user says otherwise."""
    return place.full(f"catalogs/{catalog.corpus}-{catalog.fingerprint[:12]}.parquet")


def report(built: Built, uri: str) -> dict[str, Any]:
    counts = built.catalog.counts()
    table = built.catalog.table
    images = table.filter(pc.and_(pc.equal(table["kind"], IMAGE), pc.equal(table["status"], OK))).num_rows
    return {
        "catalog": uri,
        "fingerprint": built.catalog.fingerprint,
        "videos": counts.pop(OK) - images,
        "images": images,
        "unusable": counts,
        "probed": built.probed,
        "reused": built.reused,
        "excluded": built.excluded,
        "ignored": built.ignored,
        "unmatched_exclusions": list(built.unmatched_exclusions),
    }


def _build(
    layout: str, root: str, *, previous: Catalog | None, exclude: str | None, cleaning: CleaningConfig | None
) -> Built:
    cpus = 1.0 if Storage(root).is_local else _REMOTE_CPUS
    return build(layout, root, previous=previous, exclusions=_exclusions(exclude), cleaning=cleaning, cpus=cpus)


def _exclusions(path: str | None) -> tuple[str, ...]:
    return read_exclusions(Path(path).read_text()) if path else ()


def stored_catalogs(place: Storage, layout: str) -> Iterator[tuple[str, Catalog]]:
    """Address and content of the readable catalogs of a corpus, the newest first."""
    found = [item for item in place.list("catalogs") if item.name.startswith(f"catalogs/{layout}-")]
    for item in sorted(found, key=lambda item: item.modified, reverse=True):
        catalog = _readable(place.full(item.name))
        if catalog is not None:
            yield place.full(item.name), catalog


def _readable(uri: str) -> Catalog | None:
    try:
        return load(uri)
    except ObjectMissing:
        return None
    except ValueError as error:
        logger.warning("not reusing the catalog %s: %s", uri, error)
        return None
