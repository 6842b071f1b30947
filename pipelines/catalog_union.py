"""Several corpora as one catalog, each video once: what a model is pre-trained on.

Faces wander from one corpus into another (FER+ relabels the images of FER2013). A digest tells: of videos with the same
one, and of images with the same pixels, the first is kept, and the others are told to be a duplicate of it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.catalog import OK, Catalog, make_catalog
from pipelines.label_columns import with_label_columns
from pipelines.quarantine import Reason
from pipelines.storage import check_name


def unite(catalogs: Mapping[str, Catalog]) -> Catalog:
    """The videos of all corpora. Uris, subjects and exclusions begin with the name of the corpus and a slash; splits
    stay, and so does what was unusable; labels are left out.

    Of usable videos with the same digest that of the first corpus in `catalogs` is kept, within a corpus that of the
    first uri. The others get the status duplicate, with the uri that is kept as detail.

    Raises:
        ValueError: there is no catalog, a name has a slash or cannot begin a uri, or a catalog is a union already.
    """
    if not catalogs:
        raise ValueError("there is no catalog to unite; give at least one")
    for name, catalog in catalogs.items():
        if "/" in check_name(name):
            raise ValueError(f"name {name!r} of a corpus must have no slash: uris begin with it")
        if catalog.roots:
            raise ValueError(f"{name} is a union of {', '.join(catalog.roots)} already; unite these with the others")
    ranks = list(catalogs)
    names = sorted(catalogs, key=lambda name: f"{name}/")  # uris then ascend
    table = pa.concat_tables([_prefixed(name, catalogs[name].table) for name in names])
    rank_N = np.repeat([ranks.index(name) for name in names], [catalogs[name].table.num_rows for name in names])
    table = _without_duplicates(table, rank_N)
    table = table.set_column(0, table.schema.field("sample_id"), pa.array(np.arange(table.num_rows)))
    return make_catalog(
        table,
        corpus="+".join(ranks),
        root="",
        exclusions=tuple(sorted(f"{name}/{entry}" for name in names for entry in catalogs[name].exclusions)),
        roots={name: catalogs[name].root for name in ranks},
    )


def _prefixed(name: str, table: pa.Table) -> pa.Table:
    for column in ("uri", "subject"):
        table = _replaced(table, column, pc.binary_join_element_wise(name, table[column], "/"))
    return with_label_columns(table).select(table.column_names)


def _without_duplicates(table: pa.Table, rank_N: np.ndarray) -> pa.Table:
    digest = table["digest"].combine_chunks()
    usable = pc.and_(pc.equal(table["status"], OK), pc.not_equal(digest, "")).to_numpy()
    candidates = np.flatnonzero(usable)
    order = candidates[np.argsort(rank_N[candidates], kind="stable")]  # within a corpus the uris ascend
    code = digest.take(pa.array(order)).dictionary_encode().indices.to_numpy()
    _, first, which = np.unique(code, return_index=True, return_inverse=True)
    kept = order[first][which]
    again = kept != order
    original = np.full(table.num_rows, -1)
    original[order[again]] = kept[again]
    is_copy = pa.array(original >= 0)
    uri = table["uri"].combine_chunks().take(pa.array(np.maximum(original, 0)))
    table = _replaced(table, "status", pc.if_else(is_copy, Reason.duplicate.value, table["status"]))
    return _replaced(table, "detail", pc.if_else(is_copy, uri, table["detail"]))


def _replaced(table: pa.Table, name: str, column: pa.Array | pa.ChunkedArray) -> pa.Table:
    index = table.schema.get_field_index(name)
    return table.set_column(index, table.schema.field(index), column)
