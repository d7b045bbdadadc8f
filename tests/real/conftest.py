"""One real registry of each kind for the whole run: open, with passwords, with tokens."""

import ssl
import time
from collections.abc import Callable, Iterator

import bcrypt
import httpx
import pytest
import trustme

from tests.real import registry as real
from tests.real import tokens

PASSWORDS = {"reader": "right-pw"}
USERS = {
    "reader": tokens.User(password="right-pw", repositories=frozenset({"team/app", "team/index"})),
    "robot": tokens.User(identity_token="identity-right", repositories=frozenset({"team/app"})),
}
PUBLIC = frozenset({"public/app"})


@pytest.fixture(scope="session")
def open_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[real.RealRegistry]:
    """A registry that asks nobody for a login."""
    with real.running(tmp_path_factory.mktemp("open")) as registry:
        yield registry


@pytest.fixture(scope="session")
def password_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[real.RealRegistry]:
    """A registry with an htpasswd file."""
    folder = tmp_path_factory.mktemp("password")
    lines = (f"{user}:{bcrypt.hashpw(pw.encode(), bcrypt.gensalt(4)).decode()}\n" for user, pw in PASSWORDS.items())
    (folder / "htpasswd").write_text("".join(lines))
    auth = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    with real.running(folder, auth=auth, login=("reader", PASSWORDS["reader"])) as registry:
        yield registry


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Who signs the certificates of the registries with TLS."""
    return trustme.CA()


@pytest.fixture(scope="session")
def token_server(authority: trustme.CA) -> Iterator[tokens.TokenServer]:
    """Issues what the token registry asks for."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    with tokens.serving(USERS, tls=tls, public=PUBLIC) as server:
        yield server


@pytest.fixture(scope="session")
def token_registry(
    tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA, token_server: tokens.TokenServer
) -> Iterator[real.RealRegistry]:
    """A registry with TLS that wants tokens of the token server."""
    folder = tmp_path_factory.mktemp("token")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(str(folder / "cert.pem"), append=True)
    (folder / "jwks.json").write_text(token_server.key_set())
    auth = {
        "token": {
            "realm": token_server.realm,
            "service": tokens.SERVICE,
            "issuer": tokens.ISSUER,
            "jwks": str(folder / "jwks.json"),
        }
    }
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    tls = {"certificate": str(folder / "cert.pem"), "key": str(folder / "key.pem")}
    with real.running(folder, auth=auth, tls=tls, verify=trust, login=_pushing(token_server)) as registry:
        yield registry


def _pushing(server: tokens.TokenServer) -> Callable[[httpx.Request], httpx.Request]:
    """Sign a push in with a token that the server makes for us unasked."""

    def signed(request: httpx.Request) -> httpx.Request:
        name = "/".join(request.url.path.split("/")[2:4])
        access = [{"type": "repository", "name": name, "actions": ["pull", "push"]}]
        request.headers["Authorization"] = f"Bearer {server.sign(access, now=int(time.time()))}"
        return request

    return signed
