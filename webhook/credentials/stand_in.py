"""Pull secrets on the command line: those of the cluster where the person may read them, else the person's own logins."""

from webhook.core.credential import Credential
from webhook.core.reason import Reason, Trace
from webhook.core.reference import Reference
from webhook.core.subject import Audience
from webhook.credentials.docker_config import UserLogins
from webhook.credentials.pull_secrets import PullSecrets
from webhook.credentials.source import Given


class StandIn:
    """The provider `pod` of a person with a cluster. `unread` are the namespaces where logins stood in."""

    def __init__(self, pods: PullSecrets, logins: UserLogins) -> None:
        self._pods = pods
        self._logins = logins
        self.unread: set[str] = set()

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the person's logins; which namespaces could not be read stands in traces."""
        return self._logins.problems

    def give(self, image: Reference, audience: Audience) -> Given | None:
        """From memory."""
        given = self._pods.give(image, audience)
        if given is None or not _is_unread(given.notes):
            return given
        logins = self._logins.peek(image, audience)
        return self._with(given, logins, audience) if logins is not None else None

    async def give_by(self, image: Reference, audience: Audience, *, deadline: float) -> Given:
        """The same, once everything that has to be asked was asked."""
        given = await self._pods.give_by(image, audience, deadline=deadline)
        if not _is_unread(given.notes):
            return given
        return self._with(given, await self._logins.fetch(image, audience, deadline=deadline), audience)

    def _with(self, given: Given, logins: tuple[Credential, ...], audience: Audience) -> Given:
        self.unread.add(audience.namespace)
        return Given((*given.credentials, *logins), notes=given.notes)


def _is_unread(notes: Trace) -> bool:
    return any(note[0] is Reason.PULL_SECRETS_NOT_READ for note in notes)
