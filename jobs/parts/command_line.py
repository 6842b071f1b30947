"""The command line of jobs that run a recipe: `job.py [RECIPE] [--field value ...]`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

import tyro

Config = TypeVar("Config")


@dataclass(frozen=True)
class Command(Generic[Config]):
    """A config and where its run lives."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    name: str | None = None
    """Name of the run; None: the recipe and the hash of what is learned from what; of a chain the recipe alone. The
    same name again resumes."""
    home: str | None = None
    """Where runs, catalogs and rendered corpora are kept: a directory or s3://bucket/prefix.
    None: $SEMBLANCE_HOME, or ~/semblance."""


def parse(recipes: dict[str, Callable[[], Config]], default: str, description: str) -> Command[Config]:
    """The recipe named first on the command line (or `default`), changed by the options that follow it.

    Exits with a message, as argument parsers do, on an unknown recipe, an unknown option or an invalid value.
    """
    name, arguments = first_word(recipes, default, kind="recipe")
    config = recipes[name]()
    listing = "\n".join(f"  {key}: {_first_sentence(recipe)}" for key, recipe in recipes.items())
    try:
        return read_options(
            config,
            arguments,
            prog=f"{sys.argv[0]} [RECIPE]",
            description=f"{description}\n\nRecipes (now: {name}):\n{listing}",
        )
    except ValueError as error:
        sys.exit(f"{sys.argv[0]}: {error}")


def read_options(
    config: Config,
    arguments: Sequence[str],
    *,
    prog: str | None = None,
    description: str | None = None,
    is_quiet: bool = False,
) -> Command[Config]:
    """`config`, changed by the options in `arguments`.

    Exits, with a message unless `is_quiet`, on an option or value that cannot be read; raises ValueError for values
    that are right by themselves and do not go together.
    """
    return tyro.cli(
        Command[type(config)],
        default=Command(config=config),
        args=arguments,
        prog=prog,
        description=description,
        config=(tyro.conf.AvoidSubcommands,),
        console_outputs=not is_quiet,
    )


def first_word(known: Collection[str], default: str, *, kind: str) -> tuple[str, list[str]]:
    """The word that the command line begins with, `default` where it begins with an option, and the other arguments.

    Exits with a message on a word that is not `known`.
    """
    arguments = sys.argv[1:]
    word = arguments.pop(0) if arguments and not arguments[0].startswith("-") else default
    if word not in known:
        sys.exit(f"unknown {kind} {word!r}; there are: {', '.join(known)}")
    return word, arguments


def _first_sentence(recipe: Callable[[], object]) -> str:
    return " ".join((recipe.__doc__ or "").split(". ")[0].split()).rstrip(".")
