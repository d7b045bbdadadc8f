"""Logins at Amazon's registries, ECR private and public, by botocore's own chain. The only module that imports botocore."""

import logging
import os
from base64 import b64decode
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

import botocore.exceptions
from botocore.config import Config
from botocore.loaders import create_loader
from botocore.session import Session

from webhook.core.clouds import ECR, EcrPlace, ecr_place
from webhook.core.credential import Credential
from webhook.core.lasting import Lasting
from webhook.core.secret import Secret
from webhook.credentials.cloud import Threads
from webhook.credentials.renewals import NoLogin

CONNECT: Final = 3.0
READ: Final = 5.0
ATTEMPTS: Final = 2
LONGEST: Final = 12 * 3600.0
"""Seconds that a token lives at most."""

_PROGRAM: Final = "custom-process"
"""What botocore calls the part of its chain that starts a program."""
_REFUSED: Final = {
    "AccessDenied": "AWS denies it to the role",
    "AccessDeniedException": "AWS denies it to the role",
    "ExpiredToken": "the AWS credentials have expired",
    "ExpiredTokenException": "the AWS credentials have expired",
    "IDPCommunicationError": "AWS cannot reach the cluster's identity provider",
    "InvalidClientTokenId": "AWS does not know the access key",
    "InvalidIdentityToken": "AWS does not take the service account's token",
    "InvalidIdentityTokenException": "AWS does not take the service account's token",
    "InvalidSignatureException": "AWS does not take the signature: is the secret key right, and the clock?",
    "SignatureDoesNotMatch": "AWS does not take the signature: is the secret key right, and the clock?",
    "Throttling": "AWS asks to wait",
    "ThrottlingException": "AWS asks to wait",
    "UnrecognizedClientException": "AWS does not know the access key",
}
"""What AWS answers, by its code, in our words: its own hold names and request ids."""
_BROKEN: Final[tuple[tuple[type[Exception], str], ...]] = (
    (
        botocore.exceptions.NoCredentialsError,
        "there are no AWS credentials: no IRSA, Pod Identity, instance role or keys",
    ),
    (botocore.exceptions.PartialCredentialsError, "the AWS keys are not complete"),
    (botocore.exceptions.MetadataRetrievalError, "the credentials endpoint does not answer as it should"),
    (botocore.exceptions.CredentialRetrievalError, "the AWS credentials could not be had"),
    (botocore.exceptions.UnauthorizedSSOTokenError, "the SSO session has expired"),
    (botocore.exceptions.SSLError, "the certificate of AWS is not trusted"),
    (botocore.exceptions.ConnectionError, "AWS cannot be reached"),
    (botocore.exceptions.HTTPClientError, "AWS cannot be reached"),
    (botocore.exceptions.BotoCoreError, "the AWS settings cannot be used"),
    (OSError, "a file that the AWS settings name cannot be read"),
)


class Ecr:
    """Asks AWS. Every login begins with a session of its own, so that keys and token files that were replaced count."""

    kind = ECR

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        logging.getLogger("botocore").setLevel(logging.CRITICAL)

    def place(self, registry: str) -> EcrPlace | None:
        """Its token service."""
        return ecr_place(registry)

    async def login(self, place: EcrPlace) -> Lasting[Credential]:
        """A token for every registry there that the principal may read.

        Raises:
            NoLogin: AWS gave none.
        """
        return await self._threads(_login, place)


def _login(place: EcrPlace) -> Lasting[Credential]:
    try:
        answer = _client(place).get_authorization_token()
    except botocore.exceptions.ClientError as refused:
        raise NoLogin(_why(refused)) from None
    except Exception as broken:  # noqa: BLE001 - the door to a library: whatever it raises may hold a secret
        raise NoLogin(next((said for kind, said in _BROKEN if isinstance(broken, kind)), _unknown(broken))) from None
    return _read(answer)


def _client(place: EcrPlace) -> Any:
    session = Session()
    session.register_component("data_loader", _loader())
    if session.get_config_variable("region") is None:
        # STS is asked in the region of the registry, if in none that was chosen.
        session.set_config_variable("region", place.region)
    session.get_component("credential_provider").remove(_PROGRAM)
    config = Config(
        connect_timeout=CONNECT,
        read_timeout=READ,
        retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
        use_fips_endpoint=place.fips or None,
        use_dualstack_endpoint=place.dual_stack or None,
    )
    service = "ecr-public" if place.is_public else "ecr"
    return session.create_client(service, region_name=place.region, config=config)


@cache
def _loader() -> Any:
    """What botocore knows of services and regions, read once: it is a megabyte of JSON, and a session takes ten to drop it."""
    return create_loader(os.environ.get("AWS_DATA_PATH"))


def _read(answer: Any) -> Lasting[Credential]:
    try:
        data = answer["authorizationData"]
        one = data if isinstance(data, dict) else data[0]
        username, _, password = b64decode(one["authorizationToken"], validate=True).decode("ascii").partition(":")
        life = (one["expiresAt"] - datetime.now(UTC)).total_seconds()
    except (KeyError, IndexError, TypeError, ValueError):
        raise NoLogin("AWS answers something that is no token") from None
    if not (username and password) or life <= 0:
        raise NoLogin("AWS answers with a token that cannot be used")
    return Lasting(Credential(ECR, username, Secret(password)), min(life, LONGEST))


def _why(refused: botocore.exceptions.ClientError) -> str:
    said = _REFUSED.get(refused.response.get("Error", {}).get("Code", ""))
    status = refused.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    step = "STS" if refused.operation_name.startswith("AssumeRole") else "ECR"
    return f"{said} ({step})" if said else f"{step} answers {int(status)}"


def _unknown(broken: Exception) -> str:
    return f"the AWS library failed ({type(broken).__name__})"
