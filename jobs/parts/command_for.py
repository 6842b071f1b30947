"""The command line that gives a config: its job, its recipe, and what differs from the recipe."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from jobs.config import flat_fields, to_json
from jobs.parts.command_line import read_options


def command_for(job_file: str, recipe: Callable[[], Any], config: Any) -> str:
    """The shortest command line by which `job_file` runs `config`, to be pasted into a shell.

    It is read back by the parser of the jobs. Raises ValueError naming the fields that no command line gives: those of
    another kind of mask or crop than the recipe's, and text that would be read as something else.
    """
    base = recipe()
    wanted, given = flat_fields(to_json(config)), flat_fields(to_json(base))
    if type(config) is not type(base) or wanted.keys() != given.keys() or config.recipe != base.recipe:
        kinds = sorted(wanted.keys() ^ given.keys()) or ["recipe"]
        raise ValueError(f"{', '.join(kinds)}: recipe {base.recipe} is of another kind; no option changes it")
    changed = {name: value for name, value in wanted.items() if value != given[name]}
    words = [word for name, value in changed.items() for word in _option(name, value)]
    try:
        found = flat_fields(to_json(read_options(base, words, is_quiet=True).config))
    except SystemExit:
        raise _refusal(wanted, changed) from None
    if lost := [name for name, value in wanted.items() if found[name] != value]:
        raise _refusal(wanted, lost)
    return shlex.join(["python", job_file, base.recipe, *words])


def _option(name: str, value: Any) -> Sequence[str]:
    """The words of one option, as tyro reads them."""
    *path, last = name.replace("_", "-").split(".")
    if isinstance(value, bool):
        return ["--" + ".".join([*path, last if value else f"no-{last}"])]
    option = "--" + ".".join([*path, last])
    if isinstance(value, list):
        if any(_looks_like_option(one) for one in value):
            raise _refusal({name: value}, [name])
        return [option, *map(str, value)]
    return [f"{option}={value}"] if _looks_like_option(value) else [option, str(value)]


def _looks_like_option(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("-")


def _refusal(values: dict[str, Any], names: Iterable[str]) -> ValueError:
    told = ", ".join(f"{name}={values[name]!r}" for name in names)
    return ValueError(f"{told} cannot be said on a command line")
