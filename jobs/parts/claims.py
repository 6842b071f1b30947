"""A directory belongs to one search or comparison: what it is, written at its beginning and compared later."""

from __future__ import annotations

import json
from typing import Any

from pipelines.storage import ObjectMissing, Storage


def claim(place: Storage, file: str, identity: dict[str, Any], *, what: str) -> None:
    """Writes the identity, as JSON values, into a file of the place. Raises ValueError, naming the fields, when the
    place holds `what` of another identity."""
    try:
        found = json.loads(place.read(file))
    except ObjectMissing:
        place.write(file, json.dumps(identity, indent=1).encode())
        return
    if changed := sorted(name for name, value in identity.items() if found.get(name) != value):
        raise ValueError(f"{place.uri} holds {what} with other {', '.join(changed)}: give this one another --name")
