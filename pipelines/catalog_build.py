"""Building a catalog: list the objects, take over what is known, decode the rest on all CPUs.

Known rows are those of a previous catalog whose uri, size and entity tag are unchanged, so that a corpus that grows by
a day of recordings costs the decoding of a day; images that were cleaned otherwise are looked at again. Videos of
people who withdrew are named in an exclusion list: they lose their rows, and the list becomes part of the fingerprint.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.catalog import IMAGE, SCHEMA, Catalog, make_catalog
from pipelines.catalog_listing import LABELLED, LISTED, list_corpus, settle
from pipelines.catalog_probe import PENDING, PROBED, probe_all, probed_schema
from pipelines.corpora.registry import find
from pipelines.image_cleaning import CleaningConfig
from pipelines.quarantine import Reason
from pipelines.storage import Storage

_NOT_REUSED = (Reason.missing, Reason.changed, Reason.timeout)  # may be different the next time


@dataclass(frozen=True)
class Built:
    """A catalog and what building it took."""

    catalog: Catalog
    probed: int
    reused: int
    excluded: int
    """Videos without a row because of the exclusion list."""
    ignored: int
    """Objects that are no videos of the corpus by their name."""
    unmatched_exclusions: tuple[str, ...]


def read_exclusions(text: str) -> tuple[str, ...]:
    """One subject, subject/video or uri per line; what follows # is a comment."""
    entries = (line.split("#", 1)[0].strip() for line in text.splitlines())
    return tuple(sorted({entry for entry in entries if entry}))


def build(
    corpus: str,
    root: str,
    *,
    previous: Catalog | None = None,
    exclusions: Iterable[str] = (),
    cleaning: CleaningConfig | None = None,
    cpus: float = 1.0,
) -> Built:
    """The catalog of the corpus at `root`, a local folder or s3://bucket/prefix. Ray must be running.

    `cpus` are reserved for each decoding task; less than one lets tasks wait for a remote store side by side.

    Raises:
        ValueError: there is no video, the corpus must not be used, an archive is damaged, or there are no images to
            clean.
        FaceMeshUnavailable: images are to show a face, and MediaPipe is not installed.
        StorageError: the corpus cannot be read.
    """
    cleaning = cleaning or CleaningConfig()
    if cleaning.face:
        from pipelines.face_mesh import require_mediapipe

        require_mediapipe()
    storage, rules, entries = Storage(root), find(corpus), tuple(sorted(set(exclusions)))
    listing = list_corpus(storage, rules, entries)
    if not listing.table.num_rows and not listing.withdrawn:
        raise ValueError(f"no video in {storage.uri}: names like {rules.LAYOUT} are expected below it")
    (listed, protocols), listing = settle(corpus, listing, storage)
    if cleaning.is_on and not pc.any(pc.equal(listed["kind"], IMAGE)).as_py():
        raise ValueError(f"cleaning has no effect on {corpus}, which has no single images; leave it out")
    reused = _reuse(listed, previous if previous is not None and previous.cleaning == cleaning else None)
    positions = np.setdiff1d(np.arange(listed.num_rows), reused["position"].to_numpy())
    pending = listed.select(PENDING).take(pa.array(positions))
    pending = pending.append_column("position", pa.array(positions))
    probed = pa.concat_tables([reused, *probe_all(pending, storage, cleaning, cpus=cpus)]).sort_by("position")
    if not np.array_equal(probed["position"].to_numpy(), np.arange(listed.num_rows)):
        raise RuntimeError(f"{listed.num_rows} videos were listed, {probed.num_rows} came back from probing")
    columns = {name: listed[name] for name in LISTED + LABELLED} | {name: probed[name] for name in PROBED}
    columns["sample_id"] = pa.array(np.arange(listed.num_rows))
    table = pa.table({name: columns[name] for name in SCHEMA.names})
    catalog = make_catalog(
        table, corpus=corpus, root=storage.uri, exclusions=entries, protocols=protocols, cleaning=cleaning
    )
    counts = len(positions), reused.num_rows, len(listing.withdrawn), listing.ignored
    return Built(catalog, *counts, listing.unmatched)


def _reuse(listed: pa.Table, previous: Catalog | None) -> pa.Table:
    """Probed columns of the listed videos that `previous` knows, with their position in the listing."""
    if previous is None:
        return probed_schema().empty_table()
    known = previous.table.filter(pc.invert(pc.is_in(previous.table["status"], value_set=pa.array(list(_NOT_REUSED)))))
    row = pc.index_in(listed["uri"], value_set=known["uri"].combine_chunks()).combine_chunks()
    is_same = pc.not_equal(listed["etag"], "")  # there is none where a link pointed at nothing
    for name in ("size", "etag"):
        is_same = pc.and_kleene(is_same, pc.equal(listed[name], known[name].combine_chunks().take(row)))
    positions = np.flatnonzero(pc.fill_null(is_same, False).to_numpy())
    reused = known.select(PROBED).take(row.take(pa.array(positions)))
    return reused.append_column("position", pa.array(positions)).cast(probed_schema())
