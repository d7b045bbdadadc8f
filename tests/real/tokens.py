"""A small token server for the real registry: ES256 tokens for users with a password, an identity token, or none."""

import ssl
import time
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

ISSUER: Final = "tokens.test"
SERVICE: Final = "registry.test"
_KEY_ID: Final = "one"
_WRONG: Final = "\0wrong"


class User(msgspec.Struct, frozen=True):
    """Who may pull what: `repositories` are exact paths."""

    password: str = ""
    identity_token: str = ""
    repositories: frozenset[str] = frozenset()


class Asked(msgspec.Struct, frozen=True):
    """A request for a token, as it came in."""

    method: str
    user: str | None
    service: str
    scopes: tuple[str, ...]
    status: int


class TokenServer:
    """Issues tokens on loopback and remembers who asked; `public` names the repositories that need no user."""

    def __init__(self, users: Mapping[str, User], *, public: frozenset[str], tls: ssl.SSLContext, lives: int) -> None:
        self.users = dict(users)
        self.public = public
        self.lives = lives
        self.asked: list[Asked] = []
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.host = f"127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def realm(self) -> str:
        """What the registry names in its challenge."""
        return f"https://{self.host}/token"

    def key_set(self) -> str:
        """The public key, as the registry's `jwks` option reads it."""
        public = jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return msgspec.json.encode({"keys": [{**public, "kid": _KEY_ID, "use": "sig", "alg": "ES256"}]}).decode()

    def sign(self, access: list[dict[str, Any]], *, now: int) -> str:
        """A token for these accesses."""
        claims = {"iss": ISSUER, "aud": SERVICE, "sub": "", "access": access, "jti": "x"}
        times = {"iat": now, "nbf": now - 5, "exp": now + self.lives}
        return jwt.encode({**claims, **times}, self._key, algorithm="ES256", headers={"kid": _KEY_ID})

    def answer(self, method: str, user: str | None, service: str, scopes: tuple[str, ...], now: int) -> bytes | None:
        """The answer's body; None when the login is wrong. What may not be read is left out of the token."""
        self.asked.append(Asked(method, user, service, scopes, 401 if user == _WRONG else 200))
        if user == _WRONG:
            return None
        may_read = self.public | (self.users[user].repositories if user else frozenset())
        access = []
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            if kind == "repository" and name in may_read and "pull" in actions.split(","):
                access.append({"type": "repository", "name": name, "actions": ["pull"]})
        return msgspec.json.encode({"token": self.sign(access, now=now), "expires_in": self.lives})

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(server: TokenServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            scopes = tuple(query.get("scope", ()))
            user = _basic_user(server.users, self.headers.get("Authorization"))
            self._finish(server.answer("GET", user, query.get("service", [""])[0], scopes, int(time.time())))

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            form = {name: values[0] for name, values in parse_qs(self.rfile.read(length).decode()).items()}
            user = _form_user(server.users, form)
            scopes = tuple(form.get("scope", "").split())
            self._finish(server.answer("POST", user, form.get("service", ""), scopes, int(time.time())))

        def _finish(self, body: bytes | None) -> None:
            self.send_response(401 if body is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            """Print nothing: what was asked stands in `asked`."""

    return Handler


def _basic_user(users: Mapping[str, User], header: str | None) -> str | None:
    if header is None:
        return None
    name, _, password = b64decode(header.removeprefix("Basic ")).decode().partition(":")
    known = users.get(name)
    return name if known is not None and known.password and known.password == password else _WRONG


def _form_user(users: Mapping[str, User], form: Mapping[str, str]) -> str:
    for name, user in users.items():
        wanted = {
            "refresh_token": (user.identity_token, form.get("refresh_token")),
            "password": ((name, user.password), (form.get("username"), form.get("password"))),
        }
        kept, given = wanted.get(form.get("grant_type", ""), ("", None))
        if kept and kept == given:
            return name
    return _WRONG


@contextmanager
def serving(
    users: Mapping[str, User], *, tls: ssl.SSLContext, public: frozenset[str] = frozenset(), lives: int = 300
) -> Iterator[TokenServer]:
    """A token server for as long as the block lasts."""
    server = TokenServer(users, public=public, tls=tls, lives=lives)
    try:
        yield server
    finally:
        server.close()
