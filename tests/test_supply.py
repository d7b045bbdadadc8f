"""A server whose certificate, seal keys and path secrets are in a Secret: it waits for them, takes in what is new, and keeps
what it had where that is broken."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.core.test_admission import review as admission_review
from tests.core.world import pod
from tests.support.api import FakeApi
from tests.support.canary import MARKER, marked
from tests.support.serving import post
from tests.test_certificates import SPOILT, stored
from tests.test_reload import CONFIG, Running
from webhook.certificates import Stored
from webhook.options import BadOptions, Options
from webhook.serving import Service
from webhook.tls import utc_now
from webhook.wiring import Cluster

if TYPE_CHECKING:
    from webhook.kube import Kube

SECRET = "/api/v1/namespaces/moorage-system/secrets/moorage-certs"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/moorage-system/leases/moorage-certs"
REGISTRATION = "mutatingwebhookconfigurations.admissionregistration.k8s.io"


class Closing(FakeApi):
    """As the real one, it can be closed."""

    def close(self) -> None:
        pass


class Served(Running):
    """A service that may still be waiting."""

    def __init__(self, service: Service, folder: Path, api: FakeApi) -> None:
        super().__init__(service, folder)
        self.api = api
        self.ops = ""
        self.address_line: asyncio.Queue[str] = asyncio.Queue()

    def put(self, found: Stored | None) -> None:
        """What somebody else keeps in the Secret: nobody here changes it."""
        if found is None:
            self.api.objects.pop(SECRET, None)
            return
        self.api._version += 1
        metadata = {"name": "moorage-certs", "resourceVersion": f"put-{self.api._version}"}
        self.api.objects[SECRET] = {"metadata": metadata, "data": found.data()}

    async def look(self) -> str:
        """One look at the Secret."""
        assert self.service._supply is not None
        trouble = await self.service._supply.look()
        self.service.unread(trouble)
        return trouble

    async def up(self) -> None:
        """Until it serves."""
        url = json.loads(await self.address_line.get())["listening"]["admission"]
        self.address = ("127.0.0.1", int(url.rpartition(":")[2]))

    async def ready(self) -> str:
        """What the kubelet is told."""
        server = self.service.server
        assert server is not None
        ops = server._beside["ops"]
        await ops.server.up.wait()
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"{ops.url}/readyz?verbose")
        return f"{answer.status_code} {answer.text}"

    async def status_at(self, path: str) -> int:
        """What a review is answered with there."""
        connection = await self.connect()
        await connection.send(post(admission_review(pod("nginx")), path=path))
        status, _, _ = await connection.answer()
        connection.close()
        return status


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Served]:
    """A service that nobody else keeps anything for: it may write neither Leases nor registrations."""
    (folder / "moorage.yaml").write_text(CONFIG.format(name="one", host="registry.example.com"))
    api = Closing()
    api.forbidden = {"leases.coordination.k8s.io", REGISTRATION}
    with (folder / "log").open("w") as log:
        options = Options(
            folder / "moorage.yaml",
            listen="127.0.0.1:0",
            ops_listen="127.0.0.1:0",
            drain=0.0,
            tls_secret="moorage-system/moorage-certs",
            tls_settle=600.0,
        )
        stand_in = cast("Kube", api)
        service = Service(
            options, environ={}, stderr=log, reach=lambda _options, _environ, sealer: Cluster(stand_in, sealer)
        )
        made_ = Served(service, folder, api)
        task = asyncio.create_task(service.run(ready=made_.address_line.put_nowait))
        while service._supply is None and not task.done():  # noqa: ASYNC110 - it begins in a moment
            await asyncio.sleep(0)
        try:
            yield made_
        finally:
            assert service.server is not None
            service.server.stop()
            await task


def theirs(**entries: bytes | None) -> Stored:
    """A Secret that is not ours to keep, with all in it."""
    return Stored(stored(**entries).entries)


def leaf_of(found: Stored) -> bytes:
    return x509.load_pem_x509_certificate(found.entries["tls.crt"]).public_bytes(Encoding.DER)


async def test_it_waits_not_ready_until_there_is_a_pair(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        assert await server.look() == "secret moorage-system/moorage-certs is not there"
        assert (
            "503 [+]configuration ok\n[-]tls secret moorage-system/moorage-certs is not there" in await server.ready()
        )
        assert server.metric("moorage_certificate_reload_success") == 0
        server.put(found := theirs())
        assert await server.look() == ""
        await server.up()
        assert await server.leaf() == leaf_of(found)
        assert (await server.ready()).startswith("200 ")
        assert server.metric("moorage_certificate_reload_success") == 1
        assert server.metric("moorage_certificate_expiry_timestamp_seconds") > utc_now().timestamp()


async def test_it_ends_when_it_is_told_to_while_it_waits(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        await server.ready()
    assert server.address_line.empty()


async def test_what_is_new_is_taken_in_and_what_is_broken_leaves_what_was_in_force(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        server.put(theirs())
        await server.look()
        await server.up()
        for name, spoil, why in SPOILT:
            server.put(good := theirs())
            assert await server.look() == "", name
            assert await server.leaf() == leaf_of(good), name
            expires = server.metric("moorage_certificate_expiry_timestamp_seconds")
            bad = spoil()
            server.put(Stored({**bad.entries}))
            assert why in await server.look(), name
            assert await server.leaf() == leaf_of(good), name
            assert server.metric("moorage_certificate_reload_success") == 0, name
            assert server.metric("moorage_certificate_expiry_timestamp_seconds") == expires, name
            assert why in server.lines("certificate not loaded")[-1]["problem"], name
        server.put(None)
        assert "is not there" in await server.look()
        assert await server.leaf() == leaf_of(good)
        assert "PRIVATE" not in (tmp_path / "log").read_text()


async def test_a_pair_that_becomes_valid_is_taken_in_though_the_secret_stays_as_it_is(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        bad = theirs(tls_crt=b"")
        server.put(bad)
        for _ in range(2):
            assert "no tls.crt" in await server.look()
        assert len(server.lines("certificate not loaded")) <= 2


async def test_path_secrets_change_with_the_secret_and_two_are_served_at(tmp_path: Path) -> None:
    one, two = f"{MARKER}a", f"{MARKER}b"
    async with served(tmp_path) as server:
        server.put(theirs(path_secret=one.encode()))
        await server.look()
        await server.up()
        paths = [f"/mutate/{one}", f"/mutate/{two}", "/mutate"]
        assert [await server.status_at(path) for path in paths] == [200, 404, 404]
        server.put(theirs(path_secret=f"{one}\n{two}\n".encode()))
        await server.look()
        assert [await server.status_at(path) for path in paths] == [200, 200, 404]
        server.put(theirs(path_secret=b"short"))
        await server.look()
        assert [await server.status_at(path) for path in paths] == [200, 200, 404]
        server.put(theirs(path_secret=two.encode()))
        await server.look()
        assert [await server.status_at(path) for path in paths] == [404, 200, 404]
        server.put(theirs(path_secret=b""))
        await server.look()
        assert [await server.status_at(path) for path in paths] == [404, 404, 200]


KEY = marked("a-key-that-seals").encode()


async def test_seal_keys_change_with_the_secret(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        server.put(theirs(seal_key=KEY))
        await server.look()
        await server.up()
        desk = server.service._desk
        assert desk is not None
        before = desk.engine
        server.put(theirs(seal_key=KEY))
        await server.look()
        assert desk.engine is before
        server.put(theirs(seal_key=b"other-" + KEY + b"\n" + KEY))
        await server.look()
        assert desk.engine is not before


async def test_one_alone_makes_the_secret_and_serves_with_it(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        server.api.forbidden = set()
        await server.up()
        assert server.api.objects[SECRET]["metadata"]["labels"] == {"moorage.dev/managed": "true"}
        assert server.api.objects[LEASE]["spec"]["holderIdentity"]
        assert server.metric("moorage_certificates_kept") == 0
        (line,) = server.lines("certificates not kept")
        assert line["problem"].startswith("there is no mutatingwebhookconfiguration moorage")


async def test_who_may_not_be_elected_says_so(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        server.put(theirs())
        await server.up()
        problems = [line["problem"] for line in server.lines("certificate not loaded")]
        assert any("leases.coordination.k8s.io is forbidden" in one for one in problems)


@pytest.mark.parametrize(
    "more",
    [
        {"tls_cert": Path("tls.crt"), "tls_key": Path("tls.key")},
        {"tls_self_signed": "localhost"},
        {"seal_key_file": Path("keys")},
        {"path_secret_file": Path("path")},
        {"register_url": "https://127.0.0.1:1"},
    ],
)
async def test_what_the_secret_holds_is_not_given_twice(tmp_path: Path, more: dict[str, Any]) -> None:
    (tmp_path / "moorage.yaml").write_text(CONFIG.format(name="one", host="registry.example.com"))
    options = Options(tmp_path / "moorage.yaml", tls_secret="moorage-system/moorage-certs", **more)
    with pytest.raises(BadOptions, match="leave out"):
        await Service(options, environ={}).run()


async def test_without_a_cluster_there_is_no_secret(tmp_path: Path) -> None:
    (tmp_path / "moorage.yaml").write_text(CONFIG.format(name="one", host="registry.example.com"))
    options = Options(tmp_path / "moorage.yaml", tls_secret="moorage-certs", kube="off")
    with pytest.raises(BadOptions, match="wants a cluster that holds it"):
        await Service(options, environ={}).run()
