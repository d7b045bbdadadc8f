"""Whether a Pod has a pull secret for where it shall be sent: the kubelet would have nothing else to log in with there."""

from typing import Final, Protocol

from webhook.core.ask import Absent, Ask, AskLogin, Fact, NotAsked, Oracle, Passed
from webhook.core.reason import Reason
from webhook.core.reference import Reference
from webhook.core.subject import Audience
from webhook.credentials.source import Given
from webhook.flights import MARGIN

_NOT_READ: Final = NotAsked(Reason.PULL_SECRETS_NOT_READ)


class Secrets(Protocol):
    """Who reads pull secrets: `webhook.credentials.pull_secrets.PullSecrets`."""

    def give(self, image: Reference, audience: Audience) -> Given | None:
        """What they hold for a repository, from memory; None when it would have to wait."""

    async def give_by(self, image: Reference, audience: Audience, *, deadline: float) -> Given:
        """The same by the absolute loop time `deadline`."""


class LoginsAtTargets(Oracle):
    """The oracle for AskLogin. Where secrets cannot be read nobody knows, and the Pod is not kept from its target."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    def peek(self, ask: Ask) -> Fact | None:
        """By what was read a moment ago."""
        asked = _read(ask)
        given = self._secrets.give(asked.place, asked.audience)
        return _fact(asked, given) if given is not None else None

    async def fetch(self, ask: Ask, *, deadline: float) -> Fact:
        """Read the secrets."""
        asked = _read(ask)
        return _fact(asked, await self._secrets.give_by(asked.place, asked.audience, deadline=deadline - MARGIN))


def _fact(ask: AskLogin, given: Given) -> Fact:
    if given.credentials:
        return Passed()
    if any(note[0] is Reason.PULL_SECRETS_NOT_READ for note in given.notes):
        return _NOT_READ
    return Absent(ask.place.registry, ask.place.repository)


def _read(ask: Ask) -> AskLogin:
    if not isinstance(ask, AskLogin):
        raise TypeError(f"{type(ask).__name__} is no question about logins at a target")
    return ask
