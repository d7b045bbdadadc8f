"""Logins at Google's registries, by google-auth: a workload's identity, or the metadata server. The only module that
imports google.auth."""

import json
import logging
import os
import time
from collections.abc import Mapping
from datetime import UTC
from pathlib import Path
from typing import Any, Final

import google.auth.exceptions
import requests
from google.auth import aws, compute_engine, identity_pool, impersonated_credentials
from google.auth.transport.requests import Request
from google.oauth2 import credentials as user
from google.oauth2 import service_account

from webhook.core.clouds import GAR, is_google
from webhook.core.credential import Credential
from webhook.core.lasting import Lasting
from webhook.core.secret import Secret
from webhook.credentials.cloud import Threads
from webhook.credentials.renewals import NoLogin

USERNAME: Final = "oauth2accesstoken"
SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)
TIMEOUT: Final = 5.0
LONGEST: Final = 12 * 3600.0

_FILE: Final = "GOOGLE_APPLICATION_CREDENTIALS"
_BROKEN: Final[tuple[tuple[type[Exception], str], ...]] = (
    (google.auth.exceptions.OAuthError, "Google's token service refuses the identity"),
    (google.auth.exceptions.RefreshError, "Google refuses the credentials, or cannot be reached"),
    (google.auth.exceptions.TransportError, "Google cannot be reached"),
    (google.auth.exceptions.DefaultCredentialsError, "the credentials file cannot be used"),
    (google.auth.exceptions.GoogleAuthError, "Google gave no token"),
    (requests.RequestException, "Google cannot be reached"),
    (OSError, "a file that the credentials name cannot be read"),
    (ValueError, "the credentials file cannot be used"),
)


class Gar:
    """Asks Google. Every login reads the credentials file anew."""

    kind = GAR

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        logging.getLogger("google.auth").setLevel(logging.CRITICAL)
        logging.getLogger("google.oauth2").setLevel(logging.CRITICAL)

    def place(self, registry: str) -> str | None:
        """One token is good for all of Google's registries."""
        return "Google" if is_google(registry) else None

    async def login(self, place: str) -> Lasting[Credential]:
        """An access token.

        Raises:
            NoLogin: Google gave none.
        """
        del place
        return await self._threads(_login)


class _Soon(Request):
    """Requests that do not wait for minutes."""

    def __call__(self, *arguments: Any, **more: Any) -> Any:
        more["timeout"] = min(more.get("timeout") or TIMEOUT, TIMEOUT)
        return super().__call__(*arguments, **more)  # type: ignore[no-untyped-call]


def _login() -> Lasting[Credential]:
    try:
        with requests.Session() as session:
            found = _credentials()
            found.refresh(_Soon(session))
        token, ends = found.token, found.expiry
        life = ends.replace(tzinfo=UTC).timestamp() - time.time() if ends is not None else 0.0
    except NoLogin:
        raise
    except Exception as broken:  # noqa: BLE001 - the door to a library: whatever it raises may hold a secret
        raise NoLogin(next((said for kind, said in _BROKEN if isinstance(broken, kind)), _unknown(broken))) from None
    if not token or life <= 0:
        raise NoLogin("Google answers with a token that cannot be used")
    return Lasting(Credential(GAR, USERNAME, Secret(token)), min(life, LONGEST))


def _credentials() -> Any:
    path = os.environ.get(_FILE) or _usual()
    if path is None:
        return compute_engine.Credentials(scopes=SCOPES)
    info = json.loads(Path(path).read_bytes())
    if not isinstance(info, dict):
        raise NoLogin("the credentials file is no JSON object")
    kind = info.get("type")
    make = _KINDS.get(kind) if isinstance(kind, str) else None
    if make is None:
        raise NoLogin(f"the credentials file is none of {', '.join(_KINDS)}")
    lacking = [name for name in _NEEDED.get(str(kind), ()) if not info.get(name)]
    if lacking:
        raise NoLogin(f"the credentials file lacks {', '.join(lacking)}")
    return make(info)  # type: ignore[no-untyped-call]


def _usual() -> str | None:
    """Where gcloud leaves a person's own. google-auth would start gcloud itself to learn the project."""
    folder = os.environ.get("CLOUDSDK_CONFIG")
    path = Path(folder) if folder else Path.home() / ".config" / "gcloud"
    file = path / "application_default_credentials.json"
    return str(file) if file.is_file() else None


def _federated(info: Mapping[str, Any]) -> Any:
    source = info.get("credential_source") or {}
    if "executable" in source:
        raise NoLogin("the credentials file names a program, and none is started")
    is_aws = "environment_id" in source
    kind = aws.Credentials if is_aws else identity_pool.Credentials
    return kind.from_info(info, scopes=SCOPES)  # type: ignore[no-untyped-call]


_KINDS: Final = {
    "external_account": _federated,
    "service_account": lambda info: service_account.Credentials.from_service_account_info(info, scopes=SCOPES),
    "impersonated_service_account": lambda info: (
        impersonated_credentials.Credentials.from_impersonated_service_account_info(info, scopes=SCOPES)
    ),
    "authorized_user": lambda info: user.Credentials.from_authorized_user_info(info, scopes=SCOPES),
}


_NEEDED: Final = {
    "external_account": ("audience", "subject_token_type", "token_url", "credential_source"),
    "service_account": ("client_email", "private_key", "token_uri"),
    "impersonated_service_account": ("service_account_impersonation_url", "source_credentials"),
    "authorized_user": ("client_id", "client_secret", "refresh_token"),
}
"""Named here, as a library's words may hold what stands in the file."""


def _unknown(broken: Exception) -> str:
    return f"Google's library failed ({type(broken).__name__})"
