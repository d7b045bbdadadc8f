"""Options that every command shares, and what they come to."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from webhook.cli.exits import Exit, Stop

if TYPE_CHECKING:
    from webhook.config import Loaded

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Configuration (else $MOORAGE_CONFIG, ./moorage.yaml, /etc/moorage/moorage.yaml).",
    ),
]
Rules = Annotated[
    list[str] | None,
    typer.Option(
        "--rule",
        metavar="IMAGES=TARGETS",
        help="A rule without a file, as 'registry.example.com/**=localhost:30081'. Repeatable.",
    ),
]
Variables = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A variable of the configuration. Repeatable.")
]
Namespace = Annotated[
    str, typer.Option("--namespace", "-n", metavar="NAME", help="Namespace of objects that name none.")
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Ask no registry: digests stay unknown, rules and targets are shown.")
]
Timeout = Annotated[
    str, typer.Option("--timeout", metavar="DURATION", help="The longest that one object may take, as 4s.")
]
DockerConfig = Annotated[
    Path | None,
    typer.Option(
        "--docker-config", metavar="FILE", help="Logins (else $DOCKER_CONFIG, ~/.docker, podman's auth file)."
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more on stderr.")]


class Choices(NamedTuple):
    """The shared options of one call."""

    config: Path | None
    rules: tuple[str, ...]
    variables: dict[str, str]
    timeout: float
    docker_config: Path | None


def choices(
    config: Path | None, rules: list[str] | None, variables: list[str] | None, timeout: str, docker_config: Path | None
) -> Choices:
    """The shared options, read.

    Raises:
        Stop: one of them cannot be read.
    """
    from webhook.settings import seconds

    try:
        within = seconds(timeout)
    except ValueError as bad:
        raise Stop(Exit.USAGE, f"--timeout: {bad}") from None
    return Choices(config, tuple(rules or ()), pairs("--set", variables), within, docker_config)


def pairs(option: str, texts: list[str] | None) -> dict[str, str]:
    """What NAME=VALUE options come to; the last of a name counts.

    Raises:
        Stop: one of them is no such pair.
    """
    read: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise Stop(Exit.USAGE, f"{option} {text}: write it as NAME=VALUE")
        read[name] = value
    return read


def load(chosen: Choices) -> "Loaded":
    """The configuration; its warnings go to stderr.

    Raises:
        Stop: with every mistake in it.
    """
    from webhook.config import BadConfiguration
    from webhook.config import load as read

    try:
        loaded = read(chosen.config, environ=os.environ, rules=chosen.rules, variables=chosen.variables)
    except BadConfiguration as bad:
        raise Stop(Exit.USAGE, str(bad)) from None
    for warning in loaded.warnings:
        say(f"warning: {warning}")
    return loaded


def say(text: str) -> None:
    """A line for the person, never for the program behind the pipe."""
    sys.stderr.write(f"{text}\n")


def say_registry_warning(host: str, text: str) -> None:
    """What a registry wants its users to read."""
    say(f"moorage: {host} says: {text}")
