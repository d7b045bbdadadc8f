"""Microsoft's services as far as a login at a container registry needs them: Entra, the metadata service of a machine,
and registries with their exchange of tokens.

Rules: an assertion is a signed JWT of the cluster for Entra's audience, from the right account, and has not expired; a
token of Entra is for one audience; a registry exchanges only one that is for registries and of its own cloud, by POST
of a form that names the registry; its refresh token is good at that registry alone; so is its access token, and for
one repository.
"""

import json
import time
from typing import Final

import jwt

from tests.support.canary import marked
from tests.support.cloud import Ask, Cloud, Said, as_json, refused
from tests.support.registry import CANARY

TENANT: Final = "11111111-2222-3333-4444-555555555555"
CLIENT: Final = "66666666-7777-8888-9999-000000000000"
AUDIENCE: Final = "api://AzureADTokenExchange"
RESOURCE: Final = "https://containerregistry.azure.net"
IMDS: Final = "169.254.169.254"
CLOUDS: Final = {
    "login.microsoftonline.com": "io",
    "login.chinacloudapi.cn": "cn",
    "login.partner.microsoftonline.cn": "cn",
    "login.microsoftonline.us": "us",
}


class Azure(Cloud):
    """`secret` is the application's password, where it has one; `life` in seconds is that of a registry's refresh
    token. `node` says whether the machine has a managed identity, and `members` which registries it may read."""

    def __init__(self) -> None:
        super().__init__()
        self.issuer = "secret-of-the-cluster's-issuer-0123456789"
        self.entra = "secret-of-entra-0123456789012345678901"
        self.own = "secret-of-the-registries-0123456789012"
        self.secret = marked("application-password-canary")
        self.life = 3 * 3600.0
        self.node = False
        self.members = True
        self.sent_out: list[str] = []
        self.services = [self._login, self._imds, self._registry]

    def service_account_token(self, *, audience: str = AUDIENCE, life: float = 3600.0, name: str = "moorage") -> str:
        """What the kubelet projects into a Pod."""
        account = f"system:serviceaccount:moorage-system:{name}"
        return self._signed(self.issuer, aud=audience, sub=account, exp=time.time() + life)

    def expire(self) -> None:
        """No token of a registry is good any more."""
        self.own = f"{self.own}-and-another"

    def secrets(self) -> list[str]:
        """Everything that nobody else may see."""
        return [*self.sent_out, self.secret, CANARY]

    def _signed(self, key: str, **claims: object) -> str:
        token = jwt.encode({"jti": marked(str(len(self.sent_out))), **claims}, key, algorithm="HS256")
        self.sent_out.append(token)
        return token

    def _login(self, ask: Ask) -> Said | None:
        cloud = CLOUDS.get(ask.host)
        if cloud is None or not ask.is_tls:
            return None
        base = f"https://{ask.host}/{TENANT}"
        if ask.path.endswith("/.well-known/openid-configuration"):
            return as_json(
                {
                    "token_endpoint": f"{base}/oauth2/v2.0/token",
                    "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                    "issuer": f"{base}/v2.0",
                }
            )
        if ask.path.endswith("/discovery/instance"):
            names = [host for host, one in CLOUDS.items() if one == cloud]
            known = [{"preferred_network": names[0], "preferred_cache": names[0], "aliases": names}]
            return as_json(
                {"tenant_discovery_endpoint": f"{base}/v2.0/.well-known/openid-configuration", "metadata": known}
            )
        if (ask.method, ask.path) != ("POST", f"/{TENANT}/oauth2/v2.0/token"):
            return refused(404)
        form = ask.form
        scope = form.get("scope", "").split(" ")[0]
        if form.get("grant_type") != "client_credentials" or form.get("client_id") != CLIENT:
            return _entra_error("unauthorized_client")
        if not scope.endswith("/.default") or not self._may(form):
            return _entra_error("invalid_client")
        token = self._signed(
            self.entra, aud=scope.removesuffix("/.default"), tid=TENANT, cloud=cloud, exp=time.time() + 3600
        )
        return as_json({"token_type": "Bearer", "expires_in": 3600, "access_token": token})

    def _may(self, form: dict[str, str]) -> bool:
        if "client_secret" in form:
            return form["client_secret"] == self.secret
        if form.get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer":
            return False
        try:
            said = jwt.decode(form["client_assertion"], self.issuer, algorithms=["HS256"], audience=AUDIENCE)
        except jwt.InvalidTokenError:
            return False
        return bool(said["sub"] == "system:serviceaccount:moorage-system:moorage")

    def _imds(self, ask: Ask) -> Said | None:
        if ask.host != IMDS or ask.is_tls:
            return None
        if ask.headers.get("metadata") != "true" or ask.path != "/metadata/identity/oauth2/token":
            return refused(400)
        if not self.node:
            return as_json({"error": "invalid_request", "error_description": f"Identity not found {CANARY}"}, 400)
        resource = ask.query.get("resource", "")
        token = self._signed(self.entra, aud=resource, tid=TENANT, cloud="io", exp=time.time() + 86_400)
        said = {"access_token": token, "expires_in": "86400", "expires_on": str(int(time.time() + 86_400))}
        return as_json({**said, "resource": resource, "token_type": "Bearer"})

    def _registry(self, ask: Ask) -> Said | None:
        host, _, suffix = ask.host.rpartition(".azurecr.")
        if not host or not ask.is_tls:
            return None
        if ask.path == "/oauth2/exchange":
            return self._exchange(ask, suffix)
        if ask.path == "/oauth2/token":
            return self._token(ask)
        path = ask.path.removeprefix("/v2/").partition("/manifests/")[0]
        scope = f"repository:{path}:pull"
        if self._is_good(ask.bearer, use="access", host=ask.host, scope=scope):
            return self.manifest(ask)
        challenge = f'Bearer realm="https://{ask.host}/oauth2/token",service="{ask.host}",scope="{scope}"'
        return refused(401, ("WWW-Authenticate", challenge))

    def _exchange(self, ask: Ask, suffix: str) -> Said:
        form = ask.form
        if ask.method != "POST" or form.get("grant_type") != "access_token" or form.get("service") != ask.host:
            return refused(400)
        try:
            said = jwt.decode(form["access_token"], self.entra, algorithms=["HS256"], audience=RESOURCE)
        except jwt.InvalidTokenError:
            return refused(401)
        if said["cloud"] != suffix or form.get("tenant") != said["tid"] or not self.members:
            return refused(401)
        now = time.time()
        return as_json(
            {"refresh_token": self._signed(self.own, use="refresh", host=ask.host, iat=now, exp=now + self.life)}
        )

    def _token(self, ask: Ask) -> Said:
        form = ask.form
        if ask.method != "POST" or form.get("grant_type") != "refresh_token" or form.get("service") != ask.host:
            return refused(400)
        if not self._is_good(form.get("refresh_token", ""), use="refresh", host=ask.host):
            return refused(401)
        token = self._signed(self.own, use="access", host=ask.host, scope=form.get("scope"), exp=time.time() + 4500)
        return as_json({"access_token": token})

    def _is_good(self, token: str, **wanted: str) -> bool:
        try:
            said = jwt.decode(token, self.own, algorithms=["HS256"])
        except jwt.InvalidTokenError:
            return False
        return wanted.items() <= said.items()


def _entra_error(code: str) -> Said:
    body = {"error": code, "error_description": f"AADSTS700016: {CANARY}", "correlation_id": CANARY}
    return Said(401, json.dumps(body).encode(), (("Content-Type", "application/json"),))
