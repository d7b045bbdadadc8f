"""Google's services as far as a login at Artifact Registry needs them: the metadata server, the token services of
workload identity federation, of service accounts' keys and of persons, the impersonation of a service account, and registries.

Rules: the metadata server wants its header and serves plain HTTP; a subject token is a signed JWT of the cluster for
the provider of the pool, which the request names too, or a question to Amazon's STS that Amazon would answer, signed less
than five minutes ago and meant for that provider; a federated token is good for impersonation and for nothing else; who
has a key signs a JWT of an hour at most for the token service, and names key, account and scope; who comes with a refresh
token shows the client's secret; a registry's own token is good for one repository there.
"""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.aws import Aws
from tests.support.canary import marked
from tests.support.cloud import Ask, Cloud, Said, as_json, refused
from tests.support.registry import CANARY

POOL: Final = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/cluster"
AMAZON: Final = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/amazon"
TOKENS: Final = "https://oauth2.googleapis.com/token"
SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
AMAZONS_NODE: Final = "http://169.254.169.254/latest"
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
        self.aws = Aws()
        self.keys: dict[str, rsa.RSAPrivateKey] = {}
        self.person = {
            "client_id": "client.apps.googleusercontent.com",
            "client_secret": marked("client-secret-canary"),
            "refresh_token": marked("refresh-token-canary"),
        }
        self.services = [self._metadata, self._sts, self._tokens, self._impersonate, self._registry]

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
        return _written(folder, config)

    def write_amazon(self, folder: Path, **more: Any) -> Path:
        """The credentials file of a workload at Amazon."""
        source = {
            "environment_id": "aws1",
            "regional_cred_verification_url": "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15",
            "region_url": f"{AMAZONS_NODE}/meta-data/placement/availability-zone",
            "url": f"{AMAZONS_NODE}/meta-data/iam/security-credentials",
            "imdsv2_session_token_url": f"{AMAZONS_NODE}/api/token",
        }
        kind = "urn:ietf:params:aws:token-type:aws4_request"
        config = {"audience": AMAZON, "subject_token_type": kind, "credential_source": source, **more}
        return self.write_federation(folder, "", **config)

    def write_key(self, folder: Path, **more: Any) -> Path:
        """A new key of the service account, as it is downloaded."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = f"key-{len(self.keys)}"
        self.keys[name] = key
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        self.sent_out += [line for line in pem.splitlines() if not line.startswith("-")]
        config = {"private_key_id": name, "private_key": pem, "client_email": ACCOUNT, "token_uri": TOKENS}
        return _written(folder, {"type": "service_account", "project_id": "project", **config, **more})

    def write_person(self, folder: Path, **more: Any) -> Path:
        """What a person's login leaves behind."""
        return _written(folder, {"type": "authorized_user", **self.person, **more})

    def expire(self) -> None:
        """No access token is good any more."""
        self.tokens.clear()

    def secrets(self) -> list[str]:
        """Everything that nobody else may see."""
        person = (self.person["client_secret"], self.person["refresh_token"])
        return [*self.sent_out, *person, *self.aws.secrets(), CANARY]

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
        if ask.path.startswith("/latest/"):
            return self.aws.imds(ask)
        if ask.headers.get("metadata-flavor") != "Google":
            return refused(403)
        flavor = ("Metadata-Flavor", "Google")
        if not self.node:
            return Said(404, CANARY.encode(), (flavor,))
        account = "/computeMetadata/v1/instance/service-accounts/default/"
        if ask.path == account:
            return as_json({"email": ACCOUNT, "scopes": [SCOPE]}, 200, flavor)
        if ask.path == f"{account}token":
            token = self._new(self.tokens, "metadata")
            return as_json({"access_token": token, "expires_in": self.life, "token_type": "Bearer"}, 200, flavor)
        return Said(404, CANARY.encode(), (flavor,))

    def _sts(self, ask: Ask) -> Said | None:
        if (ask.host, ask.path) != ("sts.googleapis.com", "/v1/token") or not ask.is_tls:
            return None
        form = ask.form
        if form.get("grant_type") != "urn:ietf:params:oauth:grant-type:token-exchange":
            return _oauth_error("invalid_request")
        proofs = {
            (POOL, "urn:ietf:params:oauth:token-type:jwt"): self._is_of_the_cluster,
            (AMAZON, "urn:ietf:params:aws:token-type:aws4_request"): self._is_of_amazon,
        }
        proof = proofs.get((form.get("audience", ""), form.get("subject_token_type", "")))
        if proof is None:
            return _oauth_error("invalid_request")
        if not proof(form["subject_token"]):
            return _oauth_error("invalid_grant")
        token = self._new(self.federated, "federated")
        kind = "urn:ietf:params:oauth:token-type:access_token"
        return as_json({"access_token": token, "issued_token_type": kind, "token_type": "Bearer", "expires_in": 3600})

    def _is_of_the_cluster(self, token: str) -> bool:
        try:
            jwt.decode(token, self.issuer, algorithms=["HS256"], audience=POOL)
        except jwt.InvalidTokenError:
            return False
        return True

    def _is_of_amazon(self, token: str) -> bool:
        signed = json.loads(unquote(token))
        headers = {one["key"].lower(): one["value"] for one in signed["headers"]}
        place = urlsplit(signed["url"])
        if place.scheme != "https" or headers.get("host") != place.netloc:
            return False
        if headers.pop("x-goog-cloud-target-resource", "") != AMAZON:
            return False
        return self.aws.vouches(Ask(place.netloc, signed["method"], f"/?{place.query}", headers, b"", is_tls=True))

    def _tokens(self, ask: Ask) -> Said | None:
        if f"https://{ask.host}{ask.path}" != TOKENS or not ask.is_tls:
            return None
        form = ask.form
        grants = {
            "urn:ietf:params:oauth:grant-type:jwt-bearer": self._is_signed,
            "refresh_token": self._is_the_persons,
        }
        grant = grants.get(form.get("grant_type", ""))
        if grant is None:
            return _oauth_error("unsupported_grant_type")
        if not grant(form):
            return _oauth_error("invalid_grant")
        token = self._new(self.tokens, "account")
        return as_json({"access_token": token, "expires_in": self.life, "scope": SCOPE, "token_type": "Bearer"})

    def _is_signed(self, form: dict[str, str]) -> bool:
        try:
            key = self.keys[jwt.get_unverified_header(form["assertion"])["kid"]].public_key()
            said = jwt.decode(form["assertion"], key, algorithms=["RS256"], audience=TOKENS, issuer=ACCOUNT)
            life = said["exp"] - said["iat"]
        except (KeyError, jwt.InvalidTokenError):
            return False
        return bool(life <= 3600 and said.get("scope") == SCOPE)

    def _is_the_persons(self, form: dict[str, str]) -> bool:
        return all(form.get(name) == value for name, value in self.person.items())

    def _impersonate(self, ask: Ask) -> Said | None:
        if (ask.host, ask.path) != ("iamcredentials.googleapis.com", _IMPERSONATION) or not ask.is_tls:
            return None
        if ask.bearer not in self.federated:
            return refused(401)
        if SCOPE not in json.loads(ask.body)["scope"]:
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


def _written(folder: Path, config: dict[str, Any]) -> Path:
    file = folder / "credentials.json"
    file.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))
    return file


def _oauth_error(code: str) -> Said:
    return as_json({"error": code, "error_description": CANARY}, 400)
