"""Configs as JSON and back: what a run directory and a checkpoint record, read again by the verbs that come after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

Config = TypeVar("Config")


def to_json(config: Any) -> dict[str, Any]:
    """A frozen dataclass, with whatever it nests, as plain JSON values."""
    return _adapter(type(config)).dump_python((config,), mode="json")[0]


def from_json(cls: type[Config], data: dict[str, Any]) -> Config:
    """The dataclass `cls` from `to_json`'s output: nested dataclasses, tuples and literals take their types again.

    Raises ValueError naming the field for an unknown key, a value of another type or one its class refuses.
    """
    return _adapter(cls).validate_python((data,))[0]


def flat_fields(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """What `to_json` nests, by dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= flat_fields(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _adapter(cls: type) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    # pydantic takes no config beside a dataclass, but a tuple passes one on to the dataclasses within
    return TypeAdapter(tuple[cls], config=ConfigDict(extra="forbid"))
