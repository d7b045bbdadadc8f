"""The serving process: ports, readiness, certificates swapped under load, a drain that fails no call."""

import asyncio
import json
import os
import signal
import ssl
import sys
import urllib.request
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.serving import Running, post, review, serving
from webhook.server import Listen
from webhook.serving import Options, Service
from webhook.tls import BadCertificate, check, self_signed, utc_now


async def get(running: Running, path: str) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection(*running.ops)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), body.decode()


async def test_operations() -> None:
    async with serving() as running:
        assert await get(running, "/livez") == (200, "ok\n")
        assert await get(running, "/readyz") == (200, "ok\n")
        assert (await get(running, "/readyz?verbose"))[1].startswith("[+]configuration ok")
        status, text = await get(running, "/metrics")
        assert status == 200
        assert "moorage_build_info" in text
        assert text.endswith("# EOF\n")
        running.desk.draining = True
        assert (await get(running, "/readyz"))[0] == 503
        assert (await get(running, "/livez"))[0] == 200


async def fingerprint(running: Running) -> str:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _, writer = await asyncio.open_connection(*running.admission, ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return bytes(shown).hex()


async def test_a_new_certificate_is_shown_to_new_connections_and_open_ones_stay() -> None:
    async with serving() as running:
        before = await fingerprint(running)
        open_one = await running.connect()
        await open_one.send(post(review("a")))
        assert (await open_one.answer())[0] == 200
        pair, _ = self_signed("localhost", now=utc_now())
        await running.server.swap(pair)
        assert await fingerprint(running) != before
        await open_one.send(post(review("b")))
        assert (await open_one.answer())[0] == 200
        open_one.close()


async def test_certificates_are_swapped_under_load_without_one_failed_call() -> None:
    async with serving() as running:
        stop = asyncio.Event()
        answers: list[int] = []

        async def call_on_and_on() -> None:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            while not stop.is_set():
                reader, writer = await asyncio.open_connection(*running.admission, ssl=context)
                writer.write(post(review("x")))
                answers.append(int((await reader.readuntil(b"\r\n\r\n")).split()[1]))
                writer.close()

        callers = [asyncio.create_task(call_on_and_on()) for _ in range(4)]
        for _ in range(10):
            seen = len(answers)
            await running.server.swap(self_signed("localhost", now=utc_now())[0])
            while len(answers) < seen + 8:  # noqa: ASYNC110 - calls are counted, and the count is the event
                await asyncio.sleep(0)
        stop.set()
        await asyncio.gather(*callers)
        assert set(answers) == {200}


NOW = utc_now()
GOOD, _ = self_signed("localhost", now=NOW)
OTHER, _ = self_signed("localhost", now=NOW)


@pytest.mark.parametrize(
    ("certificate", "key", "days", "why"),
    [
        (GOOD.certificate, OTHER.key, 0, "does not belong"),
        (GOOD.certificate, GOOD.key, 31, "valid from"),
        (GOOD.certificate, GOOD.key, -1, "valid from"),
        (b"nonsense", GOOD.key, 0, "not PEM"),
        (GOOD.certificate, b"", 0, "not PEM"),
    ],
)
def test_a_pair_that_must_not_serve_is_refused(certificate: bytes, key: bytes, days: int, why: str) -> None:
    with pytest.raises(BadCertificate, match=why):
        check(certificate, key, now=NOW + timedelta(days=days))


@pytest.mark.parametrize("text", ["", "8443", "host:", "host:x", "host:70000"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no address"):
        Listen.parse(text)


@pytest.mark.parametrize(
    ("text", "host", "port"), [("0.0.0.0:1", "0.0.0.0", 1), ("[::1]:0", "::1", 0), (":8", "0.0.0.0", 8)]
)
def test_addresses(text: str, host: str, port: int) -> None:
    assert Listen.parse(text) == Listen(host, port)


CONFIG = "apiVersion: moorage.dev/v1alpha1\nkind: Configuration\nrules:\n  - name: {name}\n    images: [r.example.com/**]\n    targets: [localhost:30081]\n"


async def test_a_reload_takes_what_is_good_and_keeps_the_last_good_before_what_is_broken(tmp_path: Path) -> None:
    config = tmp_path / "moorage.yaml"
    config.write_text(CONFIG.format(name="one"))
    with (tmp_path / "log").open("w+") as log:
        options = Options(
            config, listen="127.0.0.1:0", ops_listen="127.0.0.1:0", tls_self_signed="localhost", drain=0.0
        )
        service = Service(options, environ={}, stderr=log)
        ready = asyncio.Event()
        task = asyncio.create_task(service.run(ready=lambda _: ready.set()))
        await ready.wait()
        assert service.server is not None
        config.write_text(CONFIG.format(name="two"))
        await service.reload()
        assert service.rule_names == ("two",)
        config.write_text("rules: [\n")
        await service.reload()
        assert service.rule_names == ("two",)
        text, _ = service.telemetry.exposition()
        assert b"moorage_config_reload_success 0.0" in text
        log.flush()
        assert f"{config}:2:1" in (tmp_path / "log").read_text()
        service.server.stop()
        await task


async def test_sigterm_drains_and_no_call_fails(tmp_path: Path) -> None:
    config, ca = tmp_path / "moorage.yaml", tmp_path / "ca.crt"
    config.write_text(CONFIG.format(name="one"))
    arguments = ["serve", "--config", str(config), "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]
    arguments += ["--tls-self-signed", "localhost", "--ca-out", str(ca), "--drain", "300ms"]
    program = "import sys; from webhook.cli.main import run; sys.exit(run(sys.argv[1:]) or 'kubernetes' in sys.modules)"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert process.stdout is not None
    address = json.loads(await process.stdout.readline())["listening"]["admission"]
    answers: list[int] = []
    refused = asyncio.Event()

    def call() -> int:
        context = ssl.create_default_context(cafile=str(ca))
        request = urllib.request.Request(f"{address}/mutate", review("a"), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, context=context, timeout=5) as response:
            return int(response.status)

    async def call_on_and_on() -> None:
        while not refused.is_set():
            try:
                answers.append(await asyncio.to_thread(call))
            except OSError:
                # Refused: the listener is gone, which is the end of the drain and not a failed call.
                refused.set()

    callers = [asyncio.create_task(call_on_and_on()) for _ in range(3)]
    while len(answers) < 6:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0)
    before = len(answers)
    os.kill(process.pid, signal.SIGTERM)
    await asyncio.gather(*callers)
    # The Kubernetes client is a third of the memory: where there is no cluster it is not imported.
    assert await process.wait() == 0
    assert set(answers) == {200}
    assert len(answers) > before
