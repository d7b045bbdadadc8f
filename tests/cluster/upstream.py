"""The upstream: the distribution registry behind a proxy that counts, holds and swallows requests."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, Self

import bcrypt
import httpx

from tests.cluster.proxy import Proxy, Request
from tests.cluster.real.image import Image
from tests.real import registry as real
from tests.support.ports import lasting_ports

ACCEPT: Final = {"Accept": f"{real.OCI_MANIFEST}, {real.OCI_INDEX}"}
"""Without it the registry says of what we push that there is no such manifest."""
NOWHERE: Final = ("127.0.0.1", 0)


class Upstream:
    """A registry that is seen at `host`. What is pushed stays over `stop` and `start`, and is not counted."""

    def __init__(self, proxy: Proxy, host: str, folder: Path, program: bytes, passwords: Mapping[str, str]) -> None:
        self.proxy = proxy
        self.host = host
        self._folder = folder
        self._program = program
        self._passwords = passwords
        self._running = ExitStack()

    @classmethod
    @contextmanager
    def running(
        cls,
        folder: Path,
        *,
        address: str = "127.0.0.1",
        name: str = "",
        program: bytes = b"runs nowhere",
        passwords: Mapping[str, str] | None = None,
    ) -> Iterator[Self]:
        """An upstream for as long as the block lasts, seen at an address of this machine, or at a name of that.

        `program` is what its images run, `passwords` say who may pull.
        """
        (port,) = lasting_ports(1)
        with Proxy.running(port, NOWHERE, host=address) as proxy:
            made = cls(proxy, f"{name or address}:{port}", folder, program, passwords or {})
            made._run()
            try:
                yield made
            finally:
                made._running.close()

    def image(self, repository: str, tag: str) -> str:
        """What a Pod says to get it."""
        return f"{self.host}/{repository}:{tag}"

    def push(
        self, repository: str, tag: str, *, platforms: Sequence[str] = (), random_layers: Sequence[int] = ()
    ) -> str:
        """Push a build that never was before, so that the tag moves; the digest. With platforms it is an index."""

        def build(architecture: str) -> Image:
            labels = {"build": os.urandom(8).hex()}
            return Image.make(self._program, labels=labels, random_layers=random_layers, architecture=architecture)

        image = Image.index({name: build(name) for name in platforms}) if platforms else build("amd64")
        with self._client() as client:
            return image.push(client, repository, tag)

    def tag(self, repository: str, digest: str, tag: str) -> None:
        """Let a tag name a digest that is there."""
        with self._client() as client:
            found = client.get(f"/v2/{repository}/manifests/{digest}", headers=ACCEPT).raise_for_status()
            headers = {"Content-Type": found.headers["Content-Type"]}
            client.put(f"/v2/{repository}/manifests/{tag}", content=found.content, headers=headers).raise_for_status()

    def digest(self, repository: str, tag: str) -> str:
        """What a tag names now."""
        with self._client() as client:
            found = client.head(f"/v2/{repository}/manifests/{tag}", headers=ACCEPT).raise_for_status()
            return str(found.headers["Docker-Content-Digest"])

    def delete(self, repository: str, digest: str) -> None:
        """Delete a manifest, and with it every tag that names it."""
        with self._client() as client:
            client.delete(f"/v2/{repository}/manifests/{digest}").raise_for_status()

    def requests(self, repository: str = ".*") -> list[Request]:
        """What was asked about manifests since the last `forget`, by whoever asked."""
        wanted = re.compile(rf"/v2/{repository}/manifests/.*")
        return [request for request in self.proxy.requests if wanted.fullmatch(request.target)]

    def forget(self) -> None:
        """Count anew."""
        self.proxy.requests.clear()

    def stop(self) -> None:
        """An outage: connections are refused."""
        self.proxy.shut()
        self._running.close()
        self._is_running = False

    def start(self) -> None:
        """The end of the outage, at the same host and with the same contents."""
        self._run()
        self.proxy.open()

    def mend(self) -> None:
        """As it was at first, but for what was pushed."""
        if not self._is_running:
            self.start()
        self.proxy.release()
        self.forget()

    def _run(self) -> None:
        """The registry itself, somewhere else each time."""
        auth = None
        if self._passwords:
            users = self._folder / "htpasswd"
            lines = (f"{user}:{_hashed(password)}\n" for user, password in self._passwords.items())
            users.write_text("".join(lines))
            auth = {"htpasswd": {"realm": "test", "path": str(users)}}
        login = next(iter(self._passwords.items()), None)
        settings = real.running(self._folder, auth=auth, login=login, keep=self._folder / "kept")
        self._registry = self._running.enter_context(settings)
        host, _, port = self._registry.host.rpartition(":")
        self.proxy.server = (host, int(port))
        self._is_running = True

    def _client(self) -> httpx.Client:
        """Straight to the registry, past the proxy."""
        login = next(iter(self._passwords.items()), None)
        return httpx.Client(base_url=f"http://{self._registry.host}", auth=login, trust_env=False)


def _hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
