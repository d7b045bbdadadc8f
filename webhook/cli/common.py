"""Options that every command shares, and what they come to."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, TextIO, overload

import typer

from webhook.cli.exits import Exit, Stop
from webhook.core.printable import printable

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


def _namespace(name: str | None) -> str | None:
    from webhook.core.subject import is_namespace

    if name and not is_namespace(name):
        raise typer.BadParameter(f"'{printable(name)}' is no name of a namespace")
    return name


Namespace = Annotated[
    str,
    typer.Option("--namespace", "-n", metavar="NAME", callback=_namespace, help="Namespace of what names none itself."),
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Ask no registry: digests stay unknown, rules and targets are shown.")
]
Timeout = Annotated[
    str, typer.Option("--timeout", metavar="DURATION", help="The longest that one object or image may take, as 4s.")
]
DockerConfig = Annotated[
    Path | None,
    typer.Option(
        "--docker-config", metavar="FILE", help="Logins (else $DOCKER_CONFIG, ~/.docker, podman's auth file)."
    ),
]
Kubeconfig = Annotated[
    Path | None,
    typer.Option(
        "--kubeconfig", metavar="FILE", help="The cluster (else $KUBECONFIG, ~/.kube/config, or the one of this Pod)."
    ),
]
FromCluster = Annotated[
    bool,
    typer.Option(
        "--from-cluster", help="The configuration and variables that are installed in the cluster, instead of a file."
    ),
]
SealKeyFile = Annotated[
    Path | None,
    typer.Option(
        "--seal-key-file",
        metavar="FILE",
        help="Keys that the webhook's replicas share: whose pins need no confirmation.",
    ),
]
HomeNamespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        metavar="NAME",
        callback=_namespace,
        help="Namespace of what names none itself (else that of the kubeconfig's context, where a cluster is asked, or default).",
    ),
]
Context = Annotated[str | None, typer.Option("--context", metavar="NAME", help="A context of the kubeconfig.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say why, and what was sent, on stderr.")]


HINTS: Final = "without --seal-key-file every pin and sibling is a hint, which the registry has to confirm"
"""What is said where a cluster's pins are looked at."""


SHOWN: Final = 5
"""Namespaces that are named where there are many."""


def unknown(*, in_cluster: bool, unread: "frozenset[str] | None" = None) -> str:
    """What this machine cannot know, with a cluster to ask or without. `unread` are the namespaces whose pull secrets it
    did not give, None where it was asked for none."""
    if unread is not None:
        return f"not known here: {f'{logins_for(unread)}, ' if unread else ''}health of targets"
    of_cluster = "" if in_cluster else "labels of namespaces, pins, "
    return f"not known here: pull secrets (your logins stand in), {of_cluster}health of targets"


def logins_for(unread: "frozenset[str]") -> str:
    """Whose pull secrets could not be read."""
    names = sorted(unread)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    of = f"{'namespace' if len(names) == 1 else 'namespaces'} {', '.join(names[:SHOWN])}{more}"
    return f"pull secrets of {of} (you could not read them: your logins stand in)"


class Place(NamedTuple):
    """Which cluster, and what is known of its seals."""

    kubeconfig: Path | None
    context: str | None
    seal_key_file: Path | None


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
    within = duration("--timeout", timeout)
    if within <= 0:
        raise Stop(Exit.USAGE, f"--timeout {timeout}: nothing can be asked in no time")
    return Choices(config, tuple(rules or ()), pairs("--set", variables), within, docker_config)


def duration(option: str, text: str) -> float:
    """What a duration comes to, in seconds.

    Raises:
        Stop: it is none.
    """
    from webhook.settings import seconds

    try:
        return seconds(text)
    except ValueError as bad:
        raise Stop(Exit.USAGE, f"{option}: {bad}") from None


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


@overload
def load(chosen: Choices, *, with_lock: bool = True) -> "Loaded": ...
@overload
def load(chosen: Choices, *, with_lock: bool = True, is_needed: bool) -> "Loaded | None": ...
def load(chosen: Choices, *, with_lock: bool = True, is_needed: bool = True) -> "Loaded | None":
    """The configuration; its warnings go to stderr. None where there is none and it is not needed.

    Raises:
        Stop: with every mistake in it.
    """
    from webhook.config import BadConfiguration, NoConfiguration
    from webhook.config import load as read

    try:
        loaded = read(
            chosen.config, environ=os.environ, rules=chosen.rules, variables=chosen.variables, with_lock=with_lock
        )
    except NoConfiguration as none:
        if not is_needed:
            return None
        raise Stop(Exit.USAGE, str(none)) from None
    except BadConfiguration as bad:
        # Each line begins with its place, as compilers have it, so that editors and programs find the way.
        raise Stop(Exit.USAGE, str(bad), has_place=True) from None
    for warning in loaded.warnings:
        say(f"warning: {warning}")
    return loaded


def put(text: str) -> None:
    """What a program may read: all that goes to standard output goes through here.

    Raises:
        Stop: it cannot be written. A reader that left is no error, and changes nothing of how the command ends.
    """
    if sys.stdout is None:
        raise Stop(Exit.USAGE, "standard output is closed")
    failed = _write(sys.stdout, text)
    if failed is not None and not isinstance(failed, BrokenPipeError):
        raise Stop(Exit.USAGE, f"standard output cannot be written: {failed.strerror}")


def pretty(value: Any) -> str:
    """A value as JSON that people can read too."""
    import msgspec

    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def say(text: str) -> None:
    """Lines for the person, never for the program behind the pipe. One that is not there hears nothing."""
    if sys.stderr is not None:
        _write(sys.stderr, "".join(f"{printable(line)}\n" for line in text.split("\n")))


def _write(stream: TextIO, text: str) -> OSError | None:
    try:
        stream.write(text)
        stream.flush()
    except OSError as failed:
        # What is left in the buffer goes nowhere, so that Python does not complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return failed
    return None


def say_registry_warning(host: str, text: str) -> None:
    """What a registry wants its users to read."""
    say(f"moorage: {host} says: {text}")
