"""Any folder of videos.

The first sub-folder names the subject; a video outside of sub-folders is a subject of its own. About a twentieth of
the subjects, chosen by a hash of the name, are held out as "test", the others are "dev". So a subject stays in its
split when others are added. With fewer than some dozens of subjects the hash may choose none: then the one whose hash
is lowest is held out. A folder of a single subject is all "dev".
"""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pipelines.corpora.registry import Labels

if TYPE_CHECKING:
    import pyarrow as pa

LAYOUT = "<subject>/**/<video>.mp4 (or mov, avi, mkv, webm, m4v)"
HELD_OUT_SHARE = 0.05

_SUFFIXES = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v"})


def parse(name: str) -> Labels | None:
    path = PurePosixPath(name)
    if path.suffix.lower() not in _SUFFIXES or path.name.startswith("."):
        return None
    subject = path.parts[0] if len(path.parts) > 1 else path.stem
    video = "/".join(path.with_suffix("").parts[1:]) or path.stem
    return Labels(split_of(subject), subject, video)


def split_of(subject: str, *, held_out: float = HELD_OUT_SHARE) -> str:
    """The split of a subject as far as its name alone decides it."""
    return "test" if _position(subject) < held_out else "dev"


def settle(table: pa.Table) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    subjects = pc.unique(table["subject"]).to_pylist()
    held_out = set(pc.unique(table.filter(pc.equal(table["split"], "test"))["subject"]).to_pylist())
    if not held_out and len(subjects) > 1:
        held_out = {min(subjects, key=_position)}
    elif len(held_out) == len(subjects):
        held_out -= {max(subjects, key=_position)}
    is_test = pc.is_in(table["subject"], value_set=pa.array(sorted(held_out), pa.string()))
    split = pc.if_else(is_test, "test", "dev")
    return table.set_column(table.schema.get_field_index("split"), table.schema.field("split"), split)


def _position(subject: str) -> float:
    """A place in [0, 1) that depends on the name alone."""
    return int.from_bytes(hashlib.sha256(subject.encode()).digest()[:8], "big") / 2**64
