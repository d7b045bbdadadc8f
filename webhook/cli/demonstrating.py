"""The work of `moorage demo`: a registry, a server, three Pods, and what came of them."""

import asyncio
import base64
import json
import os
import ssl
import tempfile
import time
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any, TextIO

import jsonpatch
import msgspec

from webhook.cli import common
from webhook.cli.embedded import EmbeddedRegistry
from webhook.cli.exits import Exit
from webhook.cli.forms.plain import aligned
from webhook.core.annotation import IMAGES
from webhook.options import Options
from webhook.serving import Service

TARGET = "localhost:30081"
CONFIGURATION = """\
apiVersion: moorage.dev/v1alpha1
kind: Configuration
registries:
  {host}: {{plainHTTP: true, allowLoopback: true, credentials: [anonymous]}}
rules:
  - name: demo
    images: ["{host}/**"]
    targets: [{target}]
resolving: {{fresh: 1ms}}
"""


class Step(msgspec.Struct):
    """One Pod that was sent: what was asked, what came of it, and what should have."""

    title: str
    asked: str
    written: str
    source: str
    milliseconds: float
    expected: tuple[str, str]

    @property
    def is_right(self) -> bool:
        """Whether it came out as it should."""
        return (self.written, self.source) == self.expected


def run() -> Exit:
    """Play it, print it; fine only if all of it came out as it should."""
    steps = _in_a_folder()
    rows = [["STEP", "ASKED", "WRITTEN", "SOURCE", "MS"]]
    rows += [[step.title, step.asked, _short(step.written), step.source, f"{step.milliseconds:.1f}"] for step in steps]
    common.put(aligned(rows))
    wrong = [step for step in steps if not step.is_right]
    for step in wrong:
        common.say(f"moorage: {step.title}: expected {step.expected[0]} ({step.expected[1]})")
    return Exit.UNASKED if wrong else Exit.FINE


def _short(text: str) -> str:
    name, at, digest = text.partition("@")
    return f"{name}{at}{digest[:19]}…" if digest else text


def _in_a_folder() -> list[Step]:
    with tempfile.TemporaryDirectory(prefix="moorage-demo-") as folder, Path(os.devnull).open("w") as nowhere:
        return asyncio.run(_play(Path(folder), nowhere))


async def _play(folder: Path, nowhere: TextIO) -> list[Step]:
    registry = EmbeddedRegistry()
    await registry.start()
    config, ca = folder / "moorage.yaml", folder / "ca.crt"
    await asyncio.to_thread(config.write_text, CONFIGURATION.format(host=registry.host, target=TARGET))
    options = Options(
        config, listen="127.0.0.1:0", ops_listen="127.0.0.1:0", tls_self_signed="localhost", ca_out=ca, drain=0.0
    )
    service = Service(options, environ={}, stderr=nowhere)
    ready = asyncio.Event()
    lines: list[str] = []

    def is_ready(line: str) -> None:
        lines.append(line)
        ready.set()

    serving = asyncio.create_task(service.run(ready=is_ready))
    waiting = asyncio.create_task(ready.wait())
    try:
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            await serving
        return await _send_all(registry, json.loads(lines[0])["listening"]["admission"], ca)
    finally:
        waiting.cancel()
        await _end(service, serving)


async def _end(service: Service, serving: "asyncio.Task[None]") -> None:
    if service.server is not None and not serving.done():
        service.server.stop()
        await serving


async def _send_all(registry: EmbeddedRegistry, address: str, ca: Path) -> list[Step]:
    image = f"{registry.host}/team/app:stable"
    first = registry.push("team/app", "stable", "the first build")
    steps = [await _send("a Pod", image, address, ca, first, "fresh")]
    second = registry.push("team/app", "stable", "the second build")
    steps.append(await _send("after the tag moved", image, address, ca, second, "fresh"))
    await registry.stop()
    steps.append(await _send("registry stopped", image, address, ca, second, "stale"))
    return steps


async def _send(title: str, image: str, address: str, ca: Path, digest: str, source: str) -> Step:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "app-", "namespace": "default"},
        "spec": {"containers": [{"name": "app", "image": image}]},
    }
    started = time.perf_counter()
    response = await asyncio.to_thread(_post, address, ca, _review(pod))
    milliseconds = (time.perf_counter() - started) * 1000
    patch = json.loads(base64.b64decode(response.get("patch", "W10=")))
    admitted: dict[str, Any] = jsonpatch.apply_patch(pod, patch)
    annotation = admitted["metadata"].get("annotations", {}).get(IMAGES, '{"images":{}}')
    entry = json.loads(annotation)["images"].get("containers/app", {})
    written = admitted["spec"]["containers"][0]["image"]
    expected = (f"{TARGET}/team/app@{digest}", source)
    return Step(title, image, written, entry.get("source", "none"), milliseconds, expected)


def _review(pod: dict[str, Any]) -> bytes:
    request = {
        "uid": "d3b0",
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "operation": "CREATE",
        "namespace": "default",
        "object": pod,
    }
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()


def _post(address: str, ca: Path, body: bytes) -> dict[str, Any]:
    host = address.removeprefix("https://")
    connection = HTTPSConnection(host, context=ssl.create_default_context(cafile=str(ca)), timeout=10)
    try:
        connection.request("POST", "/mutate?timeout=5s", body, {"Content-Type": "application/json"})
        answer: dict[str, Any] = json.loads(connection.getresponse().read())["response"]
        return answer
    finally:
        connection.close()
