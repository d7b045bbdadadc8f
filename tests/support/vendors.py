"""Registries as their vendors run them: where the token server is, what it is called, and how it differs from the book."""

from typing import Final

import msgspec

from tests.support.cloud import Ask, Cloud, Said, as_json, refused


class Vendor(msgspec.Struct, frozen=True):
    """`host` is where the registry is dialled, `realm` its token server, `service` what that has to be asked for.
    `says_life` says whether an answer holds expires_in, `names_scope` whether a challenge of /v2/ holds a scope."""

    host: str
    realm: str
    service: str
    says_life: bool = True
    names_scope: bool = True
    field: str = "token"


VENDORS: Final = {
    # docs.docker.com/reference/api/registry/auth
    "Docker Hub": Vendor("registry-1.docker.io", "https://auth.docker.io/token", "registry.docker.io"),
    "GitHub Container Registry": Vendor("ghcr.io", "https://ghcr.io/token", "ghcr.io", says_life=False),
    # gitlab-org/container-registry, docs/spec/gitlab
    "GitLab": Vendor(
        "registry.gitlab.example.com", "https://gitlab.example.com/jwt/auth", "container_registry", says_life=False
    ),
    # goharbor/harbor, src/core/service/token; prowler#12678
    "Harbor": Vendor(
        "harbor.example.com", "https://harbor.example.com/service/token", "harbor-registry", names_scope=False
    ),
    # earthly#890
    "Quay": Vendor("quay.io", "https://quay.io/v2/auth", "quay.io", says_life=False),
    # containerd, core/remotes/docker/authorizer.go: 401 to POST
    "Artifactory": Vendor("acme.jfrog.io", "https://acme.jfrog.io/v2/token", "acme.jfrog.io", field="access_token"),
}


class Shop(Cloud):
    """One vendor's registry, which one user may read."""

    def __init__(self, vendor: Vendor, user: str, password: str, path: str) -> None:
        super().__init__()
        self._vendor = vendor
        self._login = (user, password)
        self._path = path
        self.services = [self._tokens, self._registry]

    def _tokens(self, ask: Ask) -> Said | None:
        vendor = self._vendor
        if f"https://{ask.host}{ask.path}" != vendor.realm:
            return None
        if ask.method != "GET" or ask.basic != self._login or ask.query.get("service") != vendor.service:
            return refused(401)
        life = {"expires_in": 300} if vendor.says_life else {}
        return as_json({vendor.field: f"good-for-{ask.query.get('scope', 'nothing')}", **life})

    def _registry(self, ask: Ask) -> Said | None:
        vendor = self._vendor
        if ask.host != vendor.host:
            return None
        scope = f"repository:{self._path}:pull"
        if ask.bearer != f"good-for-{scope}":
            named = f',scope="{scope}"' if vendor.names_scope else ""
            challenge = f'Bearer realm="{vendor.realm}",service="{vendor.service}"{named}'
            return refused(401, ("WWW-Authenticate", challenge))
        if ask.path != f"/v2/{self._path}/manifests/stable":
            return refused(404)
        headers = (("Content-Type", self.document.media_type), ("Docker-Content-Digest", self.document.digest))
        return Said(200, self.document.body, headers)
