"""Files that change under a running server: what is good is taken in, what is broken leaves the last good in force."""

import asyncio
import json
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.core.test_admission import review as admission_review
from tests.core.world import pod
from tests.support.canary import MARKER, marked
from tests.support.faults import sent_as, with_status
from tests.support.registry import PATH, FakeRegistry, fake_registry
from tests.support.serving import Connection, post, trusting
from tests.support.volume import swap_volume
from tests.support.wire import hesitation
from webhook.config import load
from webhook.engine import Waiting
from webhook.options import BadOptions, Options
from webhook.reload import fingerprint, watch
from webhook.serving import Service
from webhook.telemetry import Telemetry
from webhook.tls import Authority, utc_now
from webhook.wiring import Assembly, own_sealer

# Watching


class Watched:
    """A watch over files, and the contents at each time that it called."""

    def __init__(self, *files: Path, seen: bytes | None = None) -> None:
        self._files = files
        self._seen = fingerprint(files) if seen is None else seen
        self.calls: asyncio.Queue[list[str]] = asyncio.Queue()
        self.again = 0
        self.is_good = True

    async def changed(self) -> bool:
        await self.calls.put([file.read_text() if file.is_file() else "" for file in self._files])
        return self.is_good

    async def retried(self) -> bool:
        self.again += 1
        self.is_good = self.again >= 3
        return await self.changed()

    @asynccontextmanager
    async def on(self, *, poll: int = 100) -> AsyncIterator[None]:
        watching = asyncio.create_task(
            watch(lambda: self._files, self.changed, seen=self._seen, again=self.retried, poll=poll)
        )
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


async def test_a_volume_that_the_kubelet_swaps_is_seen(tmp_path: Path) -> None:
    swap_volume(tmp_path, "1", a="one", b="one")
    watched = Watched(tmp_path / "a", tmp_path / "b")
    async with watched.on(poll=60_000):
        for _ in range(10):
            await asyncio.sleep(0)  # a few turns of the loop, and the folder is watched
        for number in range(2, 5):
            swap_volume(tmp_path, str(number), a=f"{number}", b=f"{number}")
            assert await watched.calls.get() == [f"{number}", f"{number}"]


async def test_a_change_between_loading_and_watching_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("one")
    watched = Watched(file)
    file.write_text("two")
    async with watched.on():
        assert await watched.calls.get() == ["two"]


async def test_a_file_that_is_written_again_as_it_was_is_no_change(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("one")
    watched = Watched(file)
    async with watched.on():
        file.write_text("one")
        (tmp_path / "other").write_text("x")
        file.write_text("two")
        assert await watched.calls.get() == ["two"]


async def test_folders_may_come_later_and_may_be_replaced(tmp_path: Path) -> None:
    here, there = tmp_path / "here" / "a", tmp_path / "there" / "b"
    here.parent.mkdir()
    here.write_text("one")
    watched = Watched(here, there)
    async with watched.on():
        there.parent.mkdir()
        there.write_text("late")
        assert await watched.calls.get() == ["one", "late"]
        here.unlink()
        here.parent.rmdir()
        assert await watched.calls.get() == ["", "late"]
        here.parent.mkdir()
        here.write_text("two")
        while (seen := await watched.calls.get()) != ["two", "late"]:
            assert seen == ["", "late"]


async def test_a_link_to_another_folder_is_followed(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (elsewhere / "a").write_text("one")
    (folder / "a").symlink_to(elsewhere / "a")
    watched = Watched(folder / "a")
    async with watched.on():
        (elsewhere / "a").write_text("two")
        assert await watched.calls.get() == ["two"]


async def test_what_could_not_be_loaded_is_tried_again_without_a_change_until_it_is_good(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("one")
    watched = Watched(file)
    watched.is_good = False
    async with watched.on():
        file.write_text("two")
        for _ in range(4):
            assert await watched.calls.get() == ["two"]
        assert (watched.again, watched.is_good) == (3, True)


# A service and its files

CONFIG = """\
apiVersion: moorage.dev/v1alpha1
kind: Configuration
registries:
  {host}: {{plainHTTP: true, allowLoopback: true, credentials: [{{file: docker.json}}]}}
rules:
  - name: {name}
    images: ["{host}/**"]
    targets: [localhost:30081]
    onFailure: refuse
"""


class Running:
    """A service in the test's own loop."""

    def __init__(self, service: Service, folder: Path) -> None:
        self.service = service
        self.folder = folder
        self.address: tuple[str, int] = ("", 0)
        self.listening: dict[str, str] = {}

    def write(self, name: str = "one", host: str = "registry.example.com") -> None:
        (self.folder / "moorage.yaml").write_text(CONFIG.format(name=name, host=host))

    def lines(self, event: str) -> list[dict[str, Any]]:
        self.service.telemetry.log.flush()
        self.service._writer.close()
        return [
            line for line in map(json.loads, (self.folder / "log").read_text().splitlines()) if line["event"] == event
        ]

    def metric(self, name: str) -> float:
        text = self.service.telemetry.exposition()[0].decode()
        return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).split()[1])

    async def connect(self) -> Connection:
        return Connection(*await asyncio.open_connection(*self.address, ssl=trusting()))

    async def ask(self, *images: str, namespace: str = "default", **metadata: Any) -> dict[str, Any]:
        """The answer to a Pod with these images."""
        connection = await self.connect()
        await connection.send(post(admission_review(pod(*images, **metadata), namespace=namespace)))
        told: dict[str, Any] = json.loads((await connection.answer())[2])["response"]
        connection.close()
        return told

    async def leaf(self) -> bytes:
        """What a new caller is shown."""
        connection = await self.connect()
        shown: bytes = connection.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        connection.close()
        return shown


@asynccontextmanager
async def running(
    folder: Path, *, host: str = "registry.example.com", written: str = "moorage.yaml", **options: Any
) -> AsyncIterator[Running]:
    (folder / written).write_text(CONFIG.format(name="one", host=host))
    options = {"tls_self_signed": "localhost"} | options
    with (folder / "log").open("w") as log:
        given = Options(folder / "moorage.yaml", listen="127.0.0.1:0", ops_listen="127.0.0.1:0", drain=0.0, **options)
        service = Service(given, environ={}, stderr=log)
        lines: asyncio.Queue[str] = asyncio.Queue()
        task = asyncio.create_task(service.run(ready=lines.put_nowait))
        made = Running(service, folder)
        made.listening = json.loads(await lines.get())["listening"]
        made.address = ("127.0.0.1", int(made.listening["admission"].rpartition(":")[2]))
        try:
            yield made
        finally:
            assert service.server is not None
            service.server.stop()
            await task


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


BROKEN: list[tuple[str, Callable[[Path], object]]] = [
    ("broken", lambda file: file.write_text("rules: [\n")),
    ("empty", lambda file: file.write_text("")),
    ("half written", lambda file: file.write_text(file.read_text()[:90])),
    ("no text", lambda file: file.write_bytes(b"\xff\xfe\x00")),
    ("gone", lambda file: file.unlink()),
    ("a folder", a_folder),
]


async def test_a_configuration_that_cannot_be_used_leaves_the_last_one_in_force(tmp_path: Path) -> None:
    file = tmp_path / "moorage.yaml"
    async with running(tmp_path) as server:
        for name, spoil in BROKEN:
            if file.is_dir():
                file.rmdir()
            server.write("good")
            assert await server.service.reload(), name
            assert server.metric("moorage_config_reload_success") == 1, name
            in_force = server.metric("moorage_config_reload_success_timestamp_seconds")
            spoil(file)
            assert not await server.service.reload(), name
            assert server.service.rule_names == ("good",), name
            assert server.metric("moorage_config_reload_success") == 0, name
            assert server.metric("moorage_config_reload_success_timestamp_seconds") == in_force, name
            assert str(file) in server.lines("configuration not loaded")[-1]["problems"][0], name


async def test_a_change_is_taken_in_without_being_told_to(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        server.write("two")
        while server.service.rule_names != ("two",):  # noqa: ASYNC110 - the rules in force are the event
            await asyncio.sleep(0)


async def test_a_file_that_was_found_is_not_replaced_by_flags_when_it_goes_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with running(tmp_path, rules=("other.example.com/**=localhost:30081",)) as server:
        service = server.service
        object.__setattr__(service, "_options", Options(None, rules=service._options.rules))
        (tmp_path / "moorage.yaml").unlink()
        assert not await service.reload()
        assert service.rule_names == ("rule-1", "one")


async def test_what_an_install_brings_is_in_force_until_there_is_an_own_file_and_never_after_it(tmp_path: Path) -> None:
    (tmp_path / "defaults").mkdir()
    async with running(tmp_path, written="defaults/moorage.yaml") as server:
        assert server.service.rule_names == ("one",)
        server.write("own")
        while server.service.rule_names != ("own",):  # noqa: ASYNC110 - the rules in force are the event
            await asyncio.sleep(0)
        (tmp_path / "moorage.yaml").unlink()
        assert not await server.service.reload()
        assert server.service.rule_names == ("own",)
        assert server.metric("moorage_config_reload_success") == 0
        server.write("again")
        assert await server.service.reload()
        assert server.service.rule_names == ("again",)


async def test_many_reloads_at_once_come_to_what_the_file_says_last(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        reloads: list[Awaitable[bool]] = []
        for number in range(8):
            server.write(f"rule{number}")
            reloads.append(asyncio.ensure_future(server.service.reload()))
            await asyncio.sleep(0)
        # One that met a file which was being written could not be used; the last one counts.
        assert (await asyncio.gather(*reloads))[-1]
        assert server.service.rule_names == ("rule7",)


# Logins


def docker_config(host: str, password: str) -> str:
    return json.dumps({"auths": {host: {"auth": b64encode(f"reader:{password}".encode()).decode()}}})


@asynccontextmanager
async def logged_in(folder: Path) -> AsyncIterator[tuple[Running, FakeRegistry, str]]:
    """A server and a registry that knows its login."""
    async with fake_registry() as fake:
        fake.push()
        fake.login = "basic"
        (folder / "docker.json").write_text(docker_config(fake.host, marked("password-of-reader")))
        async with running(folder, host=fake.host) as server:
            image = f"{fake.host}/{PATH}:stable"
            assert (await server.ask(image))["allowed"]
            yield server, fake, image


async def fetched_anew(server: Running, fake: FakeRegistry, tag: str) -> bool:
    """Whether an image that nobody asked for yet can be had."""
    fake.push(tag)
    return bool((await server.ask(f"{fake.host}/{PATH}:{tag}"))["allowed"])


async def test_a_login_that_changes_is_used_from_then_on(tmp_path: Path) -> None:
    async with logged_in(tmp_path) as (server, fake, _):
        fake.users["reader"] = marked("password-of-tomorrow")
        assert not await fetched_anew(server, fake, "a")
        (tmp_path / "docker.json").write_text(docker_config(fake.host, marked("password-of-tomorrow")))
        assert await server.service.reload()
        assert await fetched_anew(server, fake, "b")


async def test_a_login_that_is_half_written_is_told_and_the_one_before_is_used_on(tmp_path: Path) -> None:
    async with logged_in(tmp_path) as (server, fake, _):
        (tmp_path / "docker.json").write_text('{"auths": {')
        await server.service.reload()
        assert await fetched_anew(server, fake, "a")
        problems = [line["problem"] for line in server.lines("configuration")]
        assert any("docker.json" in problem and "what it held before is used on" in problem for problem in problems)
        assert "password" not in (tmp_path / "log").read_text()


async def test_a_server_without_a_cluster_says_that_it_has_no_pull_secrets(tmp_path: Path) -> None:
    async with logged_in(tmp_path) as (server, fake, _):
        assert not [line for line in server.lines("configuration") if "pull secrets" in line["problem"]]
        file = tmp_path / "moorage.yaml"
        file.write_text(file.read_text().replace("{file: docker.json}", "pod"))
        assert await server.service.reload()
        problems = [line["problem"] for line in server.lines("configuration")]
        assert f"credentials of {fake.host}: only a cluster has pull secrets; pod contributes nothing here" in problems


async def test_a_mistake_elsewhere_does_not_keep_an_old_login(tmp_path: Path) -> None:
    async with logged_in(tmp_path) as (server, fake, _):
        fake.users["reader"] = marked("password-of-tomorrow")
        (tmp_path / "docker.json").write_text(docker_config(fake.host, marked("password-of-tomorrow")))
        (tmp_path / "moorage.yaml").write_text("rules: [\n")
        assert not await server.service.reload()
        assert await fetched_anew(server, fake, "a")


async def test_what_registries_said_survives_a_reload(tmp_path: Path) -> None:
    async with logged_in(tmp_path) as (server, fake, image):
        before = len(fake.asked)
        server.write("two", fake.host)
        assert await server.service.reload()
        fake.faults["manifest"] = with_status(500)
        assert (await server.ask(image))["allowed"]
        assert len(fake.asked) == before


async def test_a_review_that_waits_is_answered_by_the_rules_and_doors_that_it_began_with(tmp_path: Path) -> None:
    async with logged_in(tmp_path) as (server, fake, _):
        fake.push("slow")
        fake.faults["manifest"] = sent_as(hesitation)
        fake.arrived.clear()
        asking = asyncio.create_task(server.ask(f"{fake.host}/{PATH}:slow"))
        await fake.arrived.wait()
        for number in range(3):
            server.write(f"rule{number}", fake.host)
            assert await server.service.reload()
        fake.release.set()
        told = await asking
        assert told["allowed"]
        assert "patch" in told


async def test_the_doors_of_the_engine_before_are_closed_when_nobody_can_need_them(tmp_path: Path) -> None:
    async with fake_registry() as fake:
        file = tmp_path / "moorage.yaml"
        text = CONFIG.format(name="one", host=fake.host).replace("{file: docker.json}", "anonymous")
        file.write_text(text + "resolving: {budget: 100ms}\n")
        loaded = load(file, environ={})
        assembly = Assembly(Telemetry(), own_sealer(), grace=0.0)
        engine = assembly.engine(loaded)
        door = assembly._outbound
        assert door is not None
        waiting = engine.answer_now(admission_review(pod(f"{fake.host}/{PATH}:stable")))
        assert isinstance(waiting, Waiting)
        await engine.answer(waiting, deadline=asyncio.get_running_loop().time() + 1)
        assert len(door._transports) == 1
        assembly.engine(loaded)
        (closing,) = assembly._closing
        assert len(door._transports) == 1
        await closing
        assert door._transports == {}
        await assembly.aclose()


async def test_authorities_that_are_broken_leave_the_last_good_in_force(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    async with fake_registry(tls=context) as fake:
        text = CONFIG.format(name="one", host=fake.host).replace("plainHTTP: true", "ca: ca.pem")
        text = text.replace("{file: docker.json}", "anonymous")
        (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
        async with running(tmp_path) as server:
            (tmp_path / "moorage.yaml").write_text(text)
            assert await server.service.reload()
            assert await fetched_anew(server, fake, "a")
            (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes()[:200])
            assert not await server.service.reload()
            assert await fetched_anew(server, fake, "b")
            (tmp_path / "ca.pem").write_bytes(trustme.CA().cert_pem.bytes())
            assert await server.service.reload()
            assert not await fetched_anew(server, fake, "c")


async def test_an_authority_that_is_replaced_is_trusted_from_then_on_without_being_told_to(tmp_path: Path) -> None:
    old, new = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.issue_cert("127.0.0.1").configure_cert(context)
    async with fake_registry(tls=context) as fake:
        text = CONFIG.format(name="one", host=fake.host).replace("plainHTTP: true", "ca: ca.pem")
        text = text.replace("{file: docker.json}", "anonymous")
        (tmp_path / "ca.pem").write_bytes(old.cert_pem.bytes())
        async with running(tmp_path) as server:
            (tmp_path / "moorage.yaml").write_text(text)
            assert await server.service.reload()
            assert await fetched_anew(server, fake, "a")
            in_force = server.service._loaded.hash
            new.issue_cert("127.0.0.1").configure_cert(context)
            (tmp_path / "ca.pem").write_bytes(old.cert_pem.bytes() + new.cert_pem.bytes())
            while server.service._loaded.hash == in_force:  # noqa: ASYNC110 - what is in force is the event
                await asyncio.sleep(0)
            # The connection that is open stays good; a registry that rolls its certificate closes it.
            await fake.stop()
            assert await fetched_anew(server, fake, "b")
            (tmp_path / "ca.pem").write_bytes(new.cert_pem.bytes())
            assert await server.service.reload()
            assert await fetched_anew(server, fake, "c")


# Certificates


class Files:
    """A pair in two files."""

    def __init__(self, folder: Path) -> None:
        self.certificate, self.key = folder / "tls.crt", folder / "tls.key"
        self._authority = Authority(now=utc_now())
        self.issue()

    def issue(self, name: str = "moorage.moorage-system.svc", *, days: int = 0) -> bytes:
        """Write a new pair and give its leaf; in these many days it begins, and 30 later it ends."""
        pair = self._authority.issue(name, now=utc_now())
        if days:
            authority = Authority(now=utc_now() + timedelta(days=days))
            made = authority.issue(name, now=utc_now() + timedelta(days=days))
            pair = made
        self.certificate.write_bytes(pair.certificate)
        self.key.write_bytes(pair.key)
        return pair.leaf

    @property
    def options(self) -> dict[str, Any]:
        return {"tls_cert": self.certificate, "tls_key": self.key, "tls_self_signed": ""}


def other_key(files: Files) -> None:
    kept = files.certificate.read_bytes()
    files.issue()
    files.certificate.write_bytes(kept)


def other_names(files: Files) -> None:
    leaf = trustme.CA().issue_cert("other.example.com")
    files.certificate.write_bytes(leaf.cert_chain_pems[0].bytes())
    files.key.write_bytes(leaf.private_key_pem.bytes())


SPOILT: list[tuple[str, Callable[[Files], object], str]] = [
    ("no key", lambda files: files.key.unlink(), "No such file"),
    ("no certificate", lambda files: files.certificate.unlink(), "No such file"),
    ("another key", other_key, "does not belong"),
    ("half a key", lambda files: files.key.write_bytes(files.key.read_bytes()[:100]), "not PEM"),
    (
        "half a certificate",
        lambda files: files.certificate.write_bytes(files.certificate.read_bytes()[:300]),
        "not PEM",
    ),
    ("empty", lambda files: files.certificate.write_bytes(b""), "not PEM"),
    ("not valid yet", lambda files: files.issue(days=10), "valid from"),
    ("expired", lambda files: files.issue(days=-40), "valid from"),
    ("other names", other_names, "for none of the names"),
]


async def test_a_pair_that_cannot_serve_leaves_the_last_one_in_force(tmp_path: Path) -> None:
    files = Files(tmp_path)
    async with running(tmp_path, **files.options) as server:
        assert server.metric("moorage_certificate_reload_success") == 1
        for name, spoil, why in SPOILT:
            leaf = files.issue()
            assert await server.service.reload(), name
            assert await server.leaf() == leaf, name
            expires = server.metric("moorage_certificate_expiry_timestamp_seconds")
            spoil(files)
            assert not await server.service.reload(), name
            assert await server.leaf() == leaf, name
            assert server.metric("moorage_certificate_reload_success") == 0, name
            assert server.metric("moorage_certificate_expiry_timestamp_seconds") == expires, name
            assert why in server.lines("certificate not loaded")[-1]["problem"], name
        files.issue()
        assert await server.service.reload()
        assert server.metric("moorage_certificate_reload_success") == 1
        assert server.metric("moorage_config_reload_success") == 1
        assert "PRIVATE" not in (tmp_path / "log").read_text()


async def test_a_pair_that_changes_is_taken_in_without_being_told_to(tmp_path: Path) -> None:
    files = Files(tmp_path)
    async with running(tmp_path, **files.options) as server:
        leaf = files.issue()
        while await server.leaf() != leaf:
            pass


async def test_a_reload_with_the_same_pair_changes_no_listener(tmp_path: Path) -> None:
    files = Files(tmp_path)
    async with running(tmp_path, **files.options) as server:
        for _ in range(3):
            assert await server.service.reload()
        assert server.lines("certificate changed") == []


async def test_the_authority_of_callers_changes_with_its_file_and_an_empty_one_changes_nothing(tmp_path: Path) -> None:
    file, old, new = tmp_path / "clients.crt", trustme.CA(), trustme.CA()
    file.write_bytes(old.cert_pem.bytes())

    async def let_in(authority: trustme.CA) -> bool:
        context = trusting()
        authority.issue_cert("kube-apiserver").configure_cert(context)
        connection = Connection(*await asyncio.open_connection(*server.address, ssl=context))
        try:
            await connection.send(post(admission_review(pod("nginx"))))
            return (await connection.answer())[0] == 200
        except (OSError, asyncio.IncompleteReadError):
            return False
        finally:
            connection.close()

    async with running(tmp_path, client_ca=file) as server:
        assert [await let_in(one) for one in (old, new)] == [True, False]
        file.write_bytes(b"")
        assert not await server.service.reload()
        assert [await let_in(one) for one in (old, new)] == [True, False]
        file.write_bytes(new.cert_pem.bytes())
        assert await server.service.reload()
        assert [await let_in(one) for one in (old, new)] == [False, True]


async def test_a_certificate_of_our_own_is_renewed_before_it_ends_by_the_same_authority(tmp_path: Path) -> None:
    async with running(tmp_path, ca_out=tmp_path / "ca.crt") as server:
        before = await server.leaf()
        await server.service.renew(utc_now() + timedelta(days=19))
        assert await server.leaf() == before
        await server.service.renew(utc_now() + timedelta(days=21))
        assert await server.leaf() != before
        context = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        assert server.metric("moorage_certificate_expiry_timestamp_seconds") > utc_now().timestamp() + 50 * 86_400


KEY = marked("a-key-that-seals")


async def test_keys_of_seals_are_read_again_and_a_broken_file_leaves_the_old_ones(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\n")
    async with fake_registry() as fake:
        fake.push()
        (tmp_path / "docker.json").write_text("{}")
        async with running(tmp_path, host=fake.host, seal_key_file=keys) as server:
            engine = server.service._desk.engine  # type: ignore[union-attr]
            for text, is_good in (("short", False), (f"other-{KEY}\n{KEY}\n", True)):
                keys.write_text(text)
                assert await server.service.reload() is is_good
                assert (server.service._desk.engine is engine) is not is_good  # type: ignore[union-attr]


async def test_path_secrets_are_read_again_and_a_broken_file_leaves_the_old_ones(tmp_path: Path) -> None:
    file = tmp_path / "path"
    one, two = f"{MARKER}a", f"{MARKER}b"
    file.write_text(one)

    async def statuses() -> list[int]:
        found = []
        for secret in (one, two):
            connection = await server.connect()
            await connection.send(post(admission_review(pod("nginx")), path=f"/mutate/{secret}"))
            found.append((await connection.answer())[0])
            connection.close()
        return found

    async with running(tmp_path, path_secret_file=file) as server:
        assert await statuses() == [200, 404]
        file.write_text("short\n")
        assert not await server.service.reload()
        assert await statuses() == [200, 404]
        assert "at least 16" in server.lines("path secret not loaded")[-1]["problem"]
        file.write_text(f"{two}\n{one}\n")
        assert await server.service.reload()
        assert await statuses() == [200, 200]
        assert "PRIVATE" not in (tmp_path / "log").read_text()
        assert one not in (tmp_path / "log").read_text()


async def test_path_secrets_that_change_are_taken_in_without_being_told_to(tmp_path: Path) -> None:
    file = tmp_path / "path"
    file.write_text(f"{MARKER}a")
    async with running(tmp_path, path_secret_file=file) as server:
        desk = server.service._desk
        assert desk is not None
        file.write_text(f"{MARKER}b")
        while desk.path != f"/mutate/{MARKER}b":  # noqa: ASYNC110 - the path is the event
            await asyncio.sleep(0)


# Options that cannot be served with


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, "no certificate"),
        ({"tls_cert": Path("tls.crt"), "tls_self_signed": "localhost"}, "no certificate"),
        ({"tls_self_signed": "localhost", "client_ca": Path("empty")}, "the file is empty"),
        ({"tls_self_signed": "localhost", "client_ca": Path("nowhere")}, "--client-ca nowhere: No such file"),
        ({"tls_self_signed": "localhost", "client_names": ("kube-apiserver",)}, "wants --client-ca"),
        (
            {"tls_self_signed": "localhost", "client_ca": Path("moorage.yaml"), "client_names": (" ",)},
            "the name is empty",
        ),
        ({"tls_self_signed": "localhost", "seal_key_file": Path("empty")}, "seal key"),
        ({"tls_self_signed": "localhost", "path_secret_file": Path("empty")}, "at least 16"),
        (
            {"tls_self_signed": "localhost", "path_secret_file": Path("binary")},
            "--path-secret-file binary: it is no text",
        ),
        ({"tls_self_signed": "a b"}, "--tls-self-signed 'a b': give the host name"),
        ({"tls_self_signed": "localhost:8443"}, "--tls-self-signed 'localhost:8443'"),
        ({"tls_self_signed": "localhost", "listen": "8443"}, "no address"),
        ({"tls_self_signed": "localhost", "ca_out": Path("nowhere/ca.crt")}, "--ca-out"),
    ],
)
async def test_options_that_cannot_be_served_with_are_told_at_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").write_text("")
    (tmp_path / "binary").write_bytes(b"\xff" * 32)
    (tmp_path / "moorage.yaml").write_text(CONFIG.format(name="one", host="registry.example.com"))
    with (tmp_path / "log").open("w") as log, pytest.raises(BadOptions, match=why):
        await Service(Options(Path("moorage.yaml"), **options), environ={}, stderr=log).run()
