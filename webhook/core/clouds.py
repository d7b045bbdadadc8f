"""Which registry hosts belong to which cloud, and what their names say. Asks nobody.

A cloud's login may go to its own registries and nowhere else, so every pattern is anchored at both ends. Sources:
amazon-ecr-credential-helper (ecr-login/api/client.go), Azure's list of clouds, Artifact Registry's and Container
Registry's documentation.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import msgspec

ECR: Final = "ecr"
ACR: Final = "acr"
GAR: Final = "gar"
PLACES: Final = 1024
"""Hosts whose place is remembered: every warm review asks for it."""

_ECR: Final = re.compile(
    r"[0-9]{12}\.dkr(?P<dual>-ecr|\.ecr)(?P<fips>-fips)?\.(?P<region>[a-z0-9][a-z0-9-]{0,62})\."
    r"(?:amazonaws\.(?:com(?:\.cn)?|eu)|on\.(?:aws|amazonwebservices\.com\.cn)"
    r"|sc2s\.sgov\.gov|c2s\.ic\.gov|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)",
    re.ASCII,
)
_ECR_PUBLIC: Final = frozenset({"public.ecr.aws", "ecr-public.aws.com"})
_ECR_PUBLIC_REGION: Final = "us-east-1"
_ACR: Final = re.compile(
    r"[a-z0-9][a-z0-9-]{3,62}[a-z0-9](?:\.[a-z0-9-]{1,63}\.geo)?\.azurecr\.(?P<suffix>io|cn|us)", re.ASCII
)
_GAR: Final = re.compile(r"(?:[a-z0-9][a-z0-9-]{0,62}\.pkg\.dev|(?:[a-z0-9-]{1,63}\.)?gcr\.io)", re.ASCII)


class EcrPlace(msgspec.Struct, frozen=True):
    """The token service of an ECR registry: one token is good for every registry there that the principal may read,
    those of other accounts too."""

    region: str
    is_public: bool = False
    fips: bool = False
    dual_stack: bool = False

    def __str__(self) -> str:
        marks = ("fips",) * self.fips + ("dual-stack",) * self.dual_stack
        return " ".join(("public",) if self.is_public else (self.region, *marks))


class AzureCloud(msgspec.Struct, frozen=True):
    """One of Microsoft's clouds. `authority` is where its tokens are issued unless AZURE_AUTHORITY_HOST says otherwise;
    `scope` is what a token for its registries is for."""

    authority: str
    scope: str = "https://containerregistry.azure.net/.default"

    def __str__(self) -> str:
        return self.authority


AZURE: Final = {
    "io": AzureCloud("login.microsoftonline.com"),
    "cn": AzureCloud("login.chinacloudapi.cn"),
    "us": AzureCloud("login.microsoftonline.us"),
}
"""By the last label of its registries' names."""


@lru_cache(maxsize=PLACES)
def ecr_place(host: str) -> EcrPlace | None:
    """Where the tokens of this registry come from; None when it is none of ECR's. The region is the host's own, whatever
    region the process runs in."""
    if host in _ECR_PUBLIC:
        return EcrPlace(_ECR_PUBLIC_REGION, is_public=True)
    found = _ECR.fullmatch(host)
    if found is None:
        return None
    return EcrPlace(found["region"], fips=found["fips"] is not None, dual_stack=found["dual"] == "-ecr")


@lru_cache(maxsize=PLACES)
def azure_cloud(host: str) -> AzureCloud | None:
    """The cloud of an Azure container registry; None when it is none."""
    found = _ACR.fullmatch(host)
    return AZURE[found["suffix"]] if found is not None else None


@lru_cache(maxsize=PLACES)
def is_google(host: str) -> bool:
    """Whether this is a registry of Google's."""
    return _GAR.fullmatch(host) is not None


class Kind(msgspec.Struct, frozen=True):
    """What the configuration has to know of a cloud: whose hosts it logs in at, and the module that its extra brings."""

    serves: Callable[[str], object]
    hosts: str
    module: str


KINDS: Final = {
    ECR: Kind(ecr_place, "ACCOUNT.dkr.ecr.REGION.amazonaws.com and public.ecr.aws", "botocore"),
    ACR: Kind(azure_cloud, "NAME.azurecr.io, .cn and .us", "azure.identity"),
    GAR: Kind(is_google, "REGION-docker.pkg.dev and gcr.io", "google.auth"),
}


def serves(kind: str, pattern: str) -> bool:
    """Whether a cloud logs in at every host that a pattern of the configuration covers (`*` within one label)."""
    first, dot, rest = pattern.partition(".")
    filled = ("0" * 12 if kind == ECR else first.replace("*", "xxxxx")) if "*" in first else first
    return bool(KINDS[kind].serves(filled + dot + rest.replace("*", "x")))
