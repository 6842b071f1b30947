"""What the readers of layouts share: frames or a file, folds of numbered people, and names that must not pass."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from pipelines.frame_folder import is_image

if TYPE_CHECKING:
    import pyarrow as pa

_NAMED_PROBLEMS = 5


def place_of(name: str) -> tuple[str, str]:
    """The uri of the video that an object is of, and the folder of its frames: both are the folder of an image; a file
    is its own uri and has no folder ("")."""
    folder = name.rpartition("/")[0] if is_image(name) else ""
    return folder or name, folder


def part_of(number: int, folds: Sequence[Collection[int]]) -> str:
    """The part of a protocol in which the person of this number is tested. Raises ValueError where there is none."""
    for fold, members in enumerate(folds, start=1):
        if number in members:
            return str(fold)
    raise ValueError(f"person {number} is in none of the {len(folds)} folds")


def check_names(uris: Iterable[str], read_name: Callable[[str], object]) -> None:
    """Raises ValueError listing the uris that `read_name` refuses by ValueError."""
    problems = []
    for uri in uris:
        try:
            read_name(uri)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        shown = "; ".join(problems[:_NAMED_PROBLEMS]) + ("; ..." if len(problems) > _NAMED_PROBLEMS else "")
        raise ValueError(f"{len(problems)} videos are misnamed: {shown}. Rename or exclude them")


def check_once(table: pa.Table) -> None:
    """Raises ValueError naming recordings of a person that are there more than once, as frames and as a file or in two
    folders: they would weigh double."""
    places: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in table.select(["uri", "subject", "video"]).to_pylist():
        places[row["subject"], row["video"]].append(row["uri"])
    if doubled := [uris for uris in places.values() if len(uris) > 1]:
        raise ValueError(
            f"{len(doubled)} recordings are there more than once, the first as {', '.join(map(repr, doubled[0]))}; "
            "move one of the copies out of the root, or name them in the exclusion list"
        )
