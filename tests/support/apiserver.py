"""The stand-in for the API server over HTTP, with a kubeconfig: for commands, which find their cluster themselves."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.support.api import FakeApi
from tests.support.canary import marked
from webhook.core.workload import KINDS
from webhook.kube import Answer, ListBroke

LISTS = {"replicasets", "controllerrevisions", *(one.plural for one in KINDS)}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet, or the kernel waits 40 ms

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = asyncio.run(_answer(self.server.api, self.command, self.path, body))  # type: ignore[attr-defined]  # ours
        if not answer.status:
            # What does not answer closes the connection.
            self.close_connection = True
            return
        self.send_response(answer.status)
        for warning in answer.warnings:
            self.send_header("Warning", f'299 - "{warning}"')
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_POST = handle_any  # noqa: N815 - names that http.server looks for

    def log_message(self, *args: object) -> None:
        """Say nothing."""


async def _answer(api: FakeApi, method: str, target: str, body: bytes) -> Answer:
    place = urlsplit(target)
    query = dict(parse_qsl(place.query))
    deadline = asyncio.get_running_loop().time() + 5
    if method == "POST":
        return await api.send(method, place.path, json.loads(body), deadline=deadline, query=query)
    if place.path.rpartition("/")[2] not in LISTS or query.get("limit") == "20":
        return await api.get(place.path, deadline=deadline, query=query)
    try:
        items = [item async for page in api.pages(place.path, deadline=deadline, query=query) for item in page]
    except ListBroke as broke:
        return broke.answer
    return Answer(200, b'{"items":[%b]}' % b",".join(map(bytes, items)))


@contextmanager
def api_server(api: FakeApi, folder: Path, *, namespace: str = "shop") -> Iterator[Path]:
    """The kubeconfig that leads to it."""
    running: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    running.daemon_threads = True
    running.api = api
    thread = Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "fake", "cluster": {"server": f"http://127.0.0.1:{running.server_port}"}}],
        "users": [{"name": "fake", "user": {"token": marked("canary-of-the-token")}}],
        "contexts": [
            {"name": "fake", "context": {"cluster": "fake", "user": "fake", "namespace": namespace}},
            {"name": "other", "context": {"cluster": "fake", "user": "fake", "namespace": "elsewhere"}},
        ],
        "current-context": "fake",
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    try:
        yield path
    finally:
        running.shutdown()
        thread.join()
        running.server_close()
