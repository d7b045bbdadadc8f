"""Google's services as far as a login at Artifact Registry needs them: the metadata server, the token service of
workload identity federation with the impersonation of a service account, and registries.

Rules: the metadata server wants its header and serves plain HTTP; a subject token is a signed JWT of the cluster for
the provider of the pool, which the request names too; a federated token is good for impersonation and for nothing
else; a registry's own token is good for one repository there.
"""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import jwt

from tests.support.canary import marked
from tests.support.cloud import Ask, Cloud, Said, as_json, refused
from tests.support.registry import CANARY

POOL: Final = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/cluster"
ACCOUNT: Final = "moorage@project.iam.gserviceaccount.com"
_IMPERSONATION: Final = f"/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken"
_METADATA: Final = frozenset({"metadata.google.internal", "169.254.169.254"})


class Google(Cloud):
    """`life` in seconds is that of an access token; `node` says whether there is a metadata server, `may_read` whether
    the account may read the repository."""

    def __init__(self) -> None:
        super().__init__()
        self.issuer = "secret-of-the-cluster's-issuer-0123456789"
        self.life = 3600.0
        self.node = False
        self.may_read = True
        self.tokens: set[str] = set()
        self.federated: set[str] = set()
        self.sent_out: list[str] = []
        self.services = [self._metadata, self._sts, self._impersonate, self._registry]

    def service_account_token(self, *, audience: str = POOL, life: float = 3600.0) -> str:
        """What the kubelet projects into a Pod."""
        account = "system:serviceaccount:moorage-system:moorage"
        said = {"aud": audience, "sub": account, "exp": time.time() + life, "jti": marked(str(len(self.sent_out)))}
        return self._sent(jwt.encode(said, self.issuer, algorithm="HS256"))

    def write_federation(self, folder: Path, token: str, **more: Any) -> Path:
        """The credentials file of a workload, and its token beside it."""
        (folder / "subject-token").write_text(token)
        config = {
            "type": "external_account",
            "audience": POOL,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": "https://sts.googleapis.com/v1/token",
            "service_account_impersonation_url": f"https://iamcredentials.googleapis.com{_IMPERSONATION}",
            "credential_source": {"file": str(folder / "subject-token")},
            **more,
        }
        file = folder / "credentials.json"
        file.write_text(json.dumps(config))
        return file

    def expire(self) -> None:
        """No access token is good any more."""
        self.tokens.clear()

    def secrets(self) -> list[str]:
        """Everything that nobody else may see."""
        return [*self.sent_out, CANARY]

    def _sent(self, text: str) -> str:
        self.sent_out.append(text)
        return text

    def _new(self, kept: set[str], name: str) -> str:
        token = self._sent(marked(f"ya29.{name}-token-canary-{len(self.sent_out)}"))
        kept.add(token)
        return token

    def _metadata(self, ask: Ask) -> Said | None:
        if ask.host not in _METADATA or ask.is_tls:
            return None
        if ask.headers.get("metadata-flavor") != "Google":
            return refused(403)
        flavor = ("Metadata-Flavor", "Google")
        if not self.node:
            return Said(404, CANARY.encode(), (flavor,))
        account = "/computeMetadata/v1/instance/service-accounts/default/"
        if ask.path == account:
            return as_json(
                {"email": ACCOUNT, "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}, 200, flavor
            )
        if ask.path == f"{account}token":
            token = self._new(self.tokens, "metadata")
            return as_json({"access_token": token, "expires_in": self.life, "token_type": "Bearer"}, 200, flavor)
        return Said(404, CANARY.encode(), (flavor,))

    def _sts(self, ask: Ask) -> Said | None:
        if (ask.host, ask.path) != ("sts.googleapis.com", "/v1/token") or not ask.is_tls:
            return None
        form = ask.form
        if form.get("grant_type") != "urn:ietf:params:oauth:grant-type:token-exchange" or form.get("audience") != POOL:
            return _oauth_error("invalid_request")
        try:
            jwt.decode(form["subject_token"], self.issuer, algorithms=["HS256"], audience=POOL)
        except jwt.InvalidTokenError:
            return _oauth_error("invalid_grant")
        token = self._new(self.federated, "federated")
        kind = "urn:ietf:params:oauth:token-type:access_token"
        return as_json({"access_token": token, "issued_token_type": kind, "token_type": "Bearer", "expires_in": 3600})

    def _impersonate(self, ask: Ask) -> Said | None:
        if (ask.host, ask.path) != ("iamcredentials.googleapis.com", _IMPERSONATION) or not ask.is_tls:
            return None
        if ask.bearer not in self.federated:
            return refused(401)
        if "https://www.googleapis.com/auth/cloud-platform" not in json.loads(ask.body)["scope"]:
            return refused(403)
        ends = datetime.fromtimestamp(time.time() + self.life, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return as_json({"accessToken": self._new(self.tokens, "impersonated"), "expireTime": ends})

    def _registry(self, ask: Ask) -> Said | None:
        if not ask.host.endswith((".pkg.dev", "gcr.io")) or not ask.is_tls:
            return None
        if ask.path == "/v2/token":
            user, password = ask.basic
            if user != "oauth2accesstoken" or password not in self.tokens or ask.query.get("service") != ask.host:
                return refused(401)
            return as_json(
                {"token": self._sent(marked(f"registry-token-canary {ask.query['scope']}".replace(" ", "/")))}
            )
        path = ask.path.removeprefix("/v2/").partition("/manifests/")[0]
        scope = f"repository:{path}:pull"
        if ask.bearer != marked(f"registry-token-canary/{scope}"):
            challenge = f'Bearer realm="https://{ask.host}/v2/token",service="{ask.host}",scope="{scope}"'
            return refused(401, ("WWW-Authenticate", challenge))
        return self.manifest(ask) if self.may_read else refused(403)


def _oauth_error(code: str) -> Said:
    return as_json({"error": code, "error_description": CANARY}, 400)
