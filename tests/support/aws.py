"""Amazon's services as far as a login at ECR needs them: STS, the metadata service (version 2), the agent of EKS Pod
Identity, ECR private and public; and as far as others believe it: who signed a question to STS for his own name.

Rules: signatures are checked with botocore's own signer, for the region and the service that the host name says;
temporary keys want their session token and expire; a web identity token is a signed JWT for the audience
`sts.amazonaws.com`; a registry's token is good in its own region and for whom the principal may read.
"""

import json
import re
import time
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Final
from xml.sax.saxutils import escape

import jwt
import msgspec
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.support.canary import marked
from tests.support.cloud import Ask, Cloud, Said, as_json, refused
from tests.support.registry import CANARY

ROLE: Final = "arn:aws:iam::123456789012:role/moorage"
AUDIENCE: Final = "sts.amazonaws.com"
IMDS: Final = "169.254.169.254"
_SIGNED: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<date>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, "
    r"SignedHeaders=(?P<headers>[^,]+), Signature=(?P<signature>[0-9a-f]{64})"
)
_API: Final = re.compile(
    r"(?:api\.)?ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.(?:amazonaws\.(?:com(?:\.cn)?|eu)|api\.aws"
    r"|api\.amazonwebservices\.com\.cn|sc2s\.sgov\.gov|c2s\.ic\.gov|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)"
)
_STS: Final = re.compile(r"sts(?:\.(?P<region>[a-z0-9-]+))?\.amazonaws\.(?:com(?:\.cn)?|eu)")
_REGISTRY: Final = re.compile(
    r"(?P<account>\d{12})\.dkr[.-]ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\."
    r"(?:amazonaws\.(?:com(?:\.cn)?|eu)|on\.aws|on\.amazonwebservices\.com\.cn|sc2s\.sgov\.gov|c2s\.ic\.gov"
    r"|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)"
)
_PRIVATE: Final = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"
_PUBLIC: Final = "SpencerFrontendService.GetAuthorizationToken"


class _Key(msgspec.Struct):
    secret: str
    session: str
    until: float
    may_log_in: bool = True


class Aws(Cloud):
    """Keys, tokens and registries; `life` in seconds is how long a registry's token lives, `accounts` whose repositories
    the principal may read."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[str, _Key] = {}
        self.issuer = "secret-of-the-cluster's-issuer-0123456789"
        self.life = 12 * 3600.0
        self.accounts = {"123456789012", "210987654321"}
        self.passwords: dict[str, str] = {}
        self.sent_out: list[str] = []
        self.pod_identity = ""
        self.imds_tokens: set[str] = set()
        self.has_role = False
        self.throttled = 0
        self.issued = 0
        self.services = [self._sts, self._ecr, self._ecr_public, self.imds, self._agent, self._registry, self._gallery]

    def key(self, *, life: float = 3600.0, is_temporary: bool = True, may_log_in: bool = True) -> str:
        """A new access key."""
        self.issued += 1
        name = f"{'ASIA' if is_temporary else 'AKIA'}TESTKEY{self.issued:09d}"
        session = marked(f"session-token-canary-{self.issued}") if is_temporary else ""
        until = time.time() + life if is_temporary else float("inf")
        self.keys[name] = _Key(marked(f"secret-key-canary-{self.issued}"), session, until, may_log_in)
        return name

    def service_account_token(self, *, audience: str = AUDIENCE, life: float = 3600.0, name: str = "moorage") -> str:
        """What the kubelet projects into a Pod."""
        account = f"system:serviceaccount:moorage-system:{name}"
        said = {"aud": [audience], "sub": account, "exp": time.time() + life, "jti": marked(str(len(self.sent_out)))}
        token = jwt.encode(said, self.issuer, algorithm="HS256")
        self.sent_out.append(token)
        return token

    def expire(self) -> None:
        """No token of a registry is good any more."""
        self.passwords.clear()

    def secrets(self) -> list[str]:
        """Everything that nobody else may see."""
        keys = [part for key in self.keys.values() for part in (key.secret, key.session) if part]
        return [*keys, *self.sent_out, *self.imds_tokens, CANARY]

    def _sts(self, ask: Ask) -> Said | None:
        if (place := _STS.fullmatch(ask.host)) is None or not ask.is_tls:
            return None
        form = ask.form
        if form.get("Action") != "AssumeRoleWithWebIdentity" or form.get("RoleArn") != ROLE:
            return _xml_error(403, "AccessDenied")
        if "authorization" in ask.headers or place["region"] is None:
            return _xml_error(400, "InvalidAction")
        try:
            said = jwt.decode(form["WebIdentityToken"], self.issuer, algorithms=["HS256"], audience=AUDIENCE)
        except jwt.ExpiredSignatureError:
            return _xml_error(400, "ExpiredTokenException")
        except jwt.InvalidTokenError:
            return _xml_error(400, "InvalidIdentityToken")
        if said["sub"] != "system:serviceaccount:moorage-system:moorage":
            return _xml_error(403, "AccessDenied")
        name = self.key()
        key = self.keys[name]
        return Said(200, _XML.format(name, key.secret, key.session, _iso(key.until)).encode(), _XML_TYPE)

    def _ecr(self, ask: Ask) -> Said | None:
        place = _API.fullmatch(ask.host)
        if place is None or not ask.is_tls:
            return None
        wrong = self.unsigned(ask, place["region"], "ecr")
        if wrong is not None:
            return wrong
        if ask.headers.get("x-amz-target") != _PRIVATE:
            return _json_error(400, "UnknownOperationException")
        given = self._token(place["region"])
        return as_json({"authorizationData": [{**given, "proxyEndpoint": f"https://{CANARY}"}]})

    def _ecr_public(self, ask: Ask) -> Said | None:
        if ask.host != "api.ecr-public.us-east-1.amazonaws.com" or not ask.is_tls:
            return None
        wrong = self.unsigned(ask, "us-east-1", "ecr-public")
        if wrong is not None:
            return wrong
        return as_json({"authorizationData": self._token("public")})

    def _token(self, region: str) -> dict[str, object]:
        self.issued += 1
        password = marked(f"ecr-password-canary-{region}-{self.issued}")
        self.passwords[password] = region
        self.sent_out.append(password)
        packed = b64encode(f"AWS:{password}".encode()).decode()
        return {"authorizationToken": packed, "expiresAt": time.time() + self.life}

    def vouches(self, ask: Ask) -> bool:
        """Whether STS would tell whoever signed this who he is."""
        place = _STS.fullmatch(ask.host)
        if place is None or ask.query != {"Action": "GetCallerIdentity", "Version": "2011-06-15"}:
            return False
        return self.unsigned(ask, place["region"] or "us-east-1", "sts") is None

    def unsigned(self, ask: Ask, region: str, service: str) -> Said | None:
        """What is wrong with a signed request."""
        if self.throttled > 0:
            self.throttled -= 1
            return _json_error(400, "ThrottlingException")
        signed = _SIGNED.fullmatch(ask.headers.get("authorization", ""))
        if signed is None:
            return _json_error(403, "MissingAuthenticationTokenException")
        key = self.keys.get(signed["key"])
        if key is None:
            return _json_error(400, "UnrecognizedClientException")
        if ask.headers.get("x-amz-security-token", "") != key.session:
            return _json_error(400, "UnrecognizedClientException")
        if time.time() > key.until:
            return _json_error(400, "ExpiredTokenException")
        if (signed["region"], signed["service"]) != (region, service):
            return _json_error(400, "InvalidSignatureException")
        if signed["signature"] != _signature(ask, signed, key) or not _is_now(ask.headers["x-amz-date"]):
            return _json_error(400, "InvalidSignatureException")
        return None if key.may_log_in else _json_error(400, "AccessDeniedException")

    def imds(self, ask: Ask) -> Said | None:
        """The metadata service of a node."""
        if ask.host != IMDS or ask.is_tls:
            return None
        if (ask.method, ask.path) == ("PUT", "/latest/api/token"):
            if not ask.headers.get("x-aws-ec2-metadata-token-ttl-seconds", "").isdigit():
                return refused(400)
            self.imds_tokens.add(marked(f"imds-token-canary-{len(self.imds_tokens)}"))
            return Said(200, marked(f"imds-token-canary-{len(self.imds_tokens) - 1}").encode())
        if ask.headers.get("x-aws-ec2-metadata-token") not in self.imds_tokens:
            return refused(401)
        if ask.path == "/latest/meta-data/placement/availability-zone":
            return Said(200, b"eu-central-1a")
        at = "/latest/meta-data/iam/security-credentials/"
        if not self.has_role or not f"{ask.path}/".startswith(at):
            return refused(404)
        if ask.path in {at, at.removesuffix("/")}:
            return Said(200, b"node-role")
        name = self.key()
        return as_json({"Code": "Success", "Type": "AWS-HMAC", **self._handed_out(name)})

    def _agent(self, ask: Ask) -> Said | None:
        if ask.path != "/v1/credentials" or ask.is_tls:
            return None
        if not self.pod_identity or ask.headers.get("authorization") != self.pod_identity:
            return refused(401)
        return as_json({"AccountId": "123456789012", **self._handed_out(self.key())})

    def _handed_out(self, name: str) -> dict[str, str]:
        key = self.keys[name]
        return {
            "AccessKeyId": name,
            "SecretAccessKey": key.secret,
            "Token": key.session,
            "Expiration": _iso(key.until),
        }

    def _registry(self, ask: Ask) -> Said | None:
        place = _REGISTRY.fullmatch(ask.host)
        if place is None or not ask.is_tls:
            return None
        challenge = f'Basic realm="https://{ask.host}/",service="ecr.amazonaws.com"'
        user, password = ask.basic
        if user != "AWS" or self.passwords.get(password) != place["region"]:
            return refused(401, ("WWW-Authenticate", challenge))
        if place["account"] not in self.accounts:
            return refused(403)
        return self.manifest(ask)

    def _gallery(self, ask: Ask) -> Said | None:
        """Public registries, whose token anyone may have."""
        if ask.host not in {"public.ecr.aws", "ecr-public.aws.com"} or not ask.is_tls:
            return None
        if ask.path == "/token/":
            user, password = ask.basic
            if user and (user != "AWS" or self.passwords.get(password) != "public"):
                return refused(401)
            return as_json({"token": marked(f"gallery-token-of-{user or 'nobody'}")})
        if not ask.bearer.startswith("gallery-token-of-"):
            challenge = f'Bearer realm="https://{ask.host}/token/",service="{ask.host}",scope="aws"'
            return refused(401, ("WWW-Authenticate", challenge))
        return self.manifest(ask)


def _signature(ask: Ask, signed: re.Match[str], key: _Key) -> str:
    names = signed["headers"].split(";")
    request = AWSRequest(
        ask.method,
        f"https://{ask.host}{ask.target}",
        headers={name: ask.headers[name] for name in names},
        data=ask.body,
    )
    request.context["timestamp"] = ask.headers["x-amz-date"]
    signer = SigV4Auth(Credentials(signed["key"], key.secret, key.session), signed["service"], signed["region"])
    text = signer.string_to_sign(request, signer.canonical_request(request))
    made: str = signer.signature(text, request)
    return made


def _is_now(date: str) -> bool:
    sent = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return abs(datetime.now(UTC) - sent) < timedelta(minutes=5)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _json_error(status: int, code: str) -> Said:
    headers = (("Content-Type", "application/x-amz-json-1.1"),)
    return Said(status, json.dumps({"__type": code, "message": CANARY}).encode(), headers)


_XML_TYPE: Final = (("Content-Type", "text/xml"),)


def _xml_error(status: int, code: str) -> Said:
    body = f"<ErrorResponse><Error><Type>Sender</Type><Code>{escape(code)}</Code><Message>{CANARY}</Message></Error></ErrorResponse>"
    return Said(status, body.encode(), _XML_TYPE)


_XML: Final = (
    '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
    "<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{}</AccessKeyId>"
    "<SecretAccessKey>{}</SecretAccessKey><SessionToken>{}</SessionToken><Expiration>{}</Expiration></Credentials>"
    "</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
)
