"""Logins at Azure's registries: a token of Entra by azure-identity, exchanged at the registry for one of its own. The
only module that imports azure.identity."""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

import azure.core.exceptions
import azure.identity
import msgspec

from webhook.core import jwt
from webhook.core.challenge import TOKEN_BODY, Request, Response, Trouble, read_refresh_token
from webhook.core.clouds import ACR, AzureCloud, azure_cloud
from webhook.core.credential import Credential
from webhook.core.hosts import Registries, Registry
from webhook.core.lasting import Lasting
from webhook.core.secret import Secret
from webhook.credentials.cloud import Threads
from webhook.credentials.renewals import NoLogin, Renewals

USERNAME: Final = "00000000-0000-0000-0000-000000000000"
"""What an Azure registry wants to read where a user name stands beside one of its own tokens."""
WITHIN: Final = 10.0
"""Seconds for the whole login: nobody who waits for less takes it from the others."""
UNSAID: Final = 3600.0
"""Seconds that a registry's token is used when it does not say how long it lives; three hours are usual."""
SETTINGS: Final[dict[str, Any]] = {"connection_timeout": 3, "read_timeout": 5, "retry_total": 1}

_BROKEN: Final[tuple[tuple[type[Exception], str], ...]] = (
    (azure.identity.CredentialUnavailableError, "there is no managed identity, or its endpoint does not answer"),
    (azure.core.exceptions.ClientAuthenticationError, "Entra refuses the identity"),
    (azure.core.exceptions.HttpResponseError, "Entra does not answer as it should"),
    (azure.core.exceptions.AzureError, "Entra cannot be reached"),
    (OSError, "the service account's token cannot be read"),
    (ValueError, "the Azure settings are not complete"),
)


class Door(Protocol):
    """What sends requests to registries: `webhook.outbound.Outbound`."""

    async def send(self, request: Request, *, registry: Registry, deadline: float) -> Response | Trouble:
        """The answer by the absolute loop time `deadline`."""


class _Entra(msgspec.Struct, frozen=True):
    token: Secret
    tenant: str


class EntraTokens:
    """Tokens of Entra, one for each of Microsoft's clouds, whatever the number of registries. They outlive a reload."""

    def __init__(self, threads: Threads, now: Callable[[], float]) -> None:
        self._threads = threads
        self._kept: Renewals[_Entra] = Renewals(now)

    async def get(self, cloud: AzureCloud, *, deadline: float) -> _Entra:
        """The token for a cloud's registries.

        Raises:
            NoLogin: Entra gave none.
        """
        found = await self._kept.get(cloud, lambda: self._threads(_ask, cloud), deadline=deadline)
        if isinstance(found, NoLogin):
            raise found
        return found

    async def aclose(self) -> None:
        """End what is under way."""
        await self._kept.aclose()


class Acr:
    """Asks Entra by its library, and the registry through the door to registries."""

    kind = ACR

    def __init__(self, entra: EntraTokens, door: Door, registries: Registries) -> None:
        self._entra = entra
        self._door = door
        self._registries = registries
        logging.getLogger("azure").setLevel(logging.CRITICAL)
        logging.getLogger("msal").setLevel(logging.CRITICAL)

    def place(self, registry: str) -> str | None:
        """Each registry has tokens of its own."""
        return registry if azure_cloud(registry) is not None else None

    async def login(self, place: str) -> Lasting[Credential]:
        """A refresh token of the registry, which gives a token for each repository.

        Raises:
            NoLogin: Entra or the registry gave none.
        """
        cloud, registry = azure_cloud(place), self._registries.find(place)
        if cloud is None or registry is None:
            raise NoLogin("it is no registry that may be contacted")
        deadline = asyncio.get_running_loop().time() + WITHIN
        entra = await self._entra.get(cloud, deadline=deadline)
        answer = await self._door.send(_exchange(place, entra), registry=registry, deadline=deadline)
        if isinstance(answer, Trouble):
            raise NoLogin(f"its /oauth2/exchange: {answer.detail}")
        if answer.status != 200:
            raise NoLogin(f"its /oauth2/exchange answers {answer.status}")
        token = read_refresh_token(answer.body)
        if isinstance(token, Trouble):
            raise NoLogin(token.detail)
        life = jwt.life(token.reveal(), time.time())
        return Lasting(Credential(ACR, USERNAME, identity_token=token), UNSAID if life is None else life)


def _exchange(host: str, entra: _Entra) -> Request:
    form = [("grant_type", Secret("access_token")), ("service", Secret(host)), ("access_token", entra.token)]
    if entra.tenant:
        form.append(("tenant", Secret(entra.tenant)))
    return Request("POST", f"https://{host}/oauth2/exchange", "token", form=tuple(form), limit=TOKEN_BODY)


def _ask(cloud: AzureCloud) -> Lasting[_Entra]:
    try:
        with _credential(cloud) as credential:
            found = credential.get_token(cloud.scope)
        text, life = found.token, found.expires_on - time.time()
    except Exception as broken:  # noqa: BLE001 - the door to a library: whatever it raises may hold a secret
        raise NoLogin(next((said for kind, said in _BROKEN if isinstance(broken, kind)), _unknown(broken))) from None
    if not text or life <= 0:
        raise NoLogin("Entra answers with a token that cannot be used")
    tenant = jwt.claims(text).get("tid") or os.environ.get("AZURE_TENANT_ID", "")
    return Lasting(_Entra(Secret(text), tenant if isinstance(tenant, str) else ""), life)


def _credential(cloud: AzureCloud) -> Any:
    """A new one each time: it would keep the service account's token for ten minutes. None that starts a program."""
    environ = os.environ
    authority = environ.get("AZURE_AUTHORITY_HOST") or cloud.authority
    if environ.get("AZURE_FEDERATED_TOKEN_FILE"):
        return azure.identity.WorkloadIdentityCredential(authority=authority, **SETTINGS)
    if environ.get("AZURE_CLIENT_SECRET") or environ.get("AZURE_CLIENT_CERTIFICATE_PATH"):
        return azure.identity.EnvironmentCredential(authority=authority, **SETTINGS)
    return azure.identity.ManagedIdentityCredential(client_id=environ.get("AZURE_CLIENT_ID") or None, **SETTINGS)


def _unknown(broken: Exception) -> str:
    return f"Azure's library failed ({type(broken).__name__})"
