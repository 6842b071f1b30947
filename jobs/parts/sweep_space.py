"""Fields of a config by name, and the names of what papers vary: how a point of a search becomes a config."""

from __future__ import annotations

import difflib
from typing import Any, TypeVar

from cluster.search_space import Values
from jobs.config import flat_fields, from_json, to_json

Config = TypeVar("Config")

LAMBDA, REGION, GLOBAL_POOL = "lambda", "region", "head"
NAMES = {
    LAMBDA: "weight of appearance against motion (MAE-DFER Eq. 2); 0 and 1 are the targets of one half alone",
    REGION: "tokens of a region, of the encoder and of the mask (MAE-DFER Table 4)",
    GLOBAL_POOL: "tokens that are classified, representative or local (MAE-DFER Table 5)",
}
"""What can be searched besides single fields."""


def with_values(config: Config, values: Values) -> Config:
    """The config with other values of the fields that are named, or of all the fields that a name of `NAMES` stands
    for. Raises ValueError for a field that is not there, and for values that do not go together."""
    data = to_json(config)
    for name, value in values.items():
        for field, said in _fields(data, name, value).items():
            _put(data, field, said, named=name)
    try:
        return from_json(type(config), data)
    except ValueError as error:
        raise ValueError(_reason(error)) from None


def _fields(data: dict[str, Any], name: str, value: Any) -> Values:
    if name == LAMBDA:
        if value in (0, 1):
            return {"model.target": "appearance" if value else "motion", "model.appearance_weight": 0.5}
        return {"model.target": "joint", "model.appearance_weight": value}
    if name == REGION:
        has_own = "region" in data.get("mask", {})
        return {"model.region": value} | ({"mask.region": value} if has_own else {})
    return {"model.global_pool" if name == GLOBAL_POOL else name: value}


def _put(data: dict[str, Any], field: str, value: Any, *, named: str) -> None:
    *outer, last = field.split(".")
    place: Any = data
    for part in outer:
        place = place.get(part) if isinstance(place, dict) else None
    if not isinstance(place, dict) or last not in place or isinstance(place[last], dict):
        known = [*NAMES, *flat_fields(data)]
        near = difflib.get_close_matches(named, known, n=4, cutoff=0.4)
        raise ValueError(f"{named} is no field that can be searched; did you mean {', '.join(near) or known}?")
    place[last] = list(value) if isinstance(value, tuple) else value


def _reason(error: ValueError) -> str:
    """What a config refuses, without the frame that pydantic puts around it, and without what other kinds of the same
    part would have refused too."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return str(error)
    told = error.errors()
    refused = [one for one in told if one["type"] == "value_error"] or told
    return "; ".join(str(one["msg"]).removeprefix("Value error, ") for one in refused)
