"""Several roots as one: the first part of a name says which corpus an object is of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from pipelines.storage import ObjectInfo, ObjectMissing, Storage


class JoinedStorage:
    """What readers of videos need of a Storage. Picklable, as its parts are.

    Raises as Storage does, and ObjectMissing for a name of no corpus.
    """

    def __init__(self, roots: Mapping[str, str]) -> None:
        self._parts = {name: Storage(root) for name, root in roots.items()}
        self.is_local = all(part.is_local for part in self._parts.values())

    def __repr__(self) -> str:
        return f"JoinedStorage({ {name: part.uri for name, part in self._parts.items()} })"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JoinedStorage) and self._parts == other._parts

    def __hash__(self) -> int:
        return hash(tuple(self._parts.items()))

    @property
    def uri(self) -> str:
        """All roots, for messages."""
        return ", ".join(part.uri for part in self._parts.values())

    def read(self, name: str) -> bytes:
        part, rest = self._locate(name)
        return part.read(rest)

    def read_range(self, name: str, start: int, end: int) -> bytes:
        part, rest = self._locate(name)
        return part.read_range(rest, start, end)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects in a folder of a corpus."""
        part, rest = self._locate(prefix)
        corpus = prefix.removesuffix(rest)
        return (replace(item, name=corpus + item.name) for item in part.list(rest))

    def _locate(self, name: str) -> tuple[Storage, str]:
        corpus, _, rest = name.partition("/")
        if corpus not in self._parts:
            raise ObjectMissing(f"{name} begins with none of the corpora {', '.join(self._parts)}")
        return self._parts[corpus], rest
