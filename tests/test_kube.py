"""The door to the Kubernetes API, against a server over TLS that does what the real one may do.

What the real one says is tested on a real control plane (tests/cluster).
"""

import asyncio
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.doors import soon
from tests.support.canary import marked
from webhook.access import Access
from webhook.kube import MERGE_PATCH, METADATA, Answer, Kube, ListBroke, named, said

Reply = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers as the server's `reply` says, and writes down what was asked."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet, or the kernel waits 40 ms

    def handle_any(self) -> None:
        server: Any = self.server
        length = int(self.headers.get("Content-Length") or 0)
        asked = (self.command, self.path, dict(self.headers), self.rfile.read(length))
        server.asked.append(asked)
        server.reply(self)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815 - names that http.server looks for

    def say(self, status: int, body: bytes = b"{}", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class Server:
    """A server that runs, and the door to it."""

    def __init__(self, running: Any, folder: Path, authority: trustme.CA) -> None:
        self.running = running
        self.folder = folder
        authority.cert_pem.write_to_path(str(folder / "ca.crt"))
        self.kube = self.door()

    def door(self, **change: Any) -> Kube:
        host = f"https://127.0.0.1:{self.running.server_port}"
        settings = {"ca": str(self.folder / "ca.crt"), **change}
        return Kube(Access(host, lambda: {"Authorization": f"Bearer {marked('canary-of-the-token')}"}, **settings))

    @property
    def asked(self) -> list[tuple[str, str, dict[str, str], bytes]]:
        asked: list[tuple[str, str, dict[str, str], bytes]] = self.running.asked
        return asked


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    running: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.socket = context.wrap_socket(running.socket, server_side=True)
    running.daemon_threads = True
    running.asked = []
    running.handle_error = lambda *_: None  # a connection that a test has cut
    running.reply = lambda handler: handler.say(200)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    made = Server(running, tmp_path, authority)
    yield made
    made.kube.close()
    running.shutdown()
    thread.join()
    running.server_close()


async def test_a_read_is_one_request_as_the_account(server: Server) -> None:
    server.running.reply = lambda handler: handler.say(200, b'{"kind":"Pod"}')
    path = named("api", "v1", "namespaces", "a b", "pods")
    answer = await server.kube.get(path, deadline=soon(), accept=METADATA, query={"labelSelector": "app=x,tier=y"})
    assert answer == Answer(200, b'{"kind":"Pod"}')
    ((method, target, headers, body),) = server.asked
    assert (method, target) == ("GET", "/api/v1/namespaces/a%20b/pods?labelSelector=app%3Dx%2Ctier%3Dy")
    assert (headers["Authorization"], headers["Accept"]) == (f"Bearer {marked('canary-of-the-token')}", METADATA)
    assert body == b""


async def test_a_write_sends_its_body(server: Server) -> None:
    answer = await server.kube.send(
        "PATCH", "/x", {"metadata": {"annotations": {"a": None}}}, deadline=soon(), content_type=MERGE_PATCH
    )
    assert answer.is_good
    ((method, _, headers, body),) = server.asked
    assert (method, headers["Content-Type"]) == ("PATCH", MERGE_PATCH)
    assert json.loads(body) == {"metadata": {"annotations": {"a": None}}}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 422, 429, 500, 503])
async def test_a_refusal_is_an_answer(server: Server, status: int) -> None:
    server.running.reply = lambda handler: handler.say(status)
    answer = await server.kube.get("/x", deadline=soon())
    assert (answer.status, answer.is_good, answer.trouble) == (status, False, "")
    assert len(server.asked) == 1


async def test_a_redirect_is_not_followed(server: Server) -> None:
    server.running.reply = lambda handler: handler.say(307, Location="/elsewhere")
    assert (await server.kube.get("/x", deadline=soon())).status == 307
    assert len(server.asked) == 1


async def test_a_server_that_hangs_is_left_at_the_deadline(server: Server) -> None:
    release = threading.Event()
    server.running.reply = lambda handler: (release.wait(10), handler.say(200))
    answer = await server.kube.get("/x", deadline=soon(0.2))
    release.set()
    assert (answer.status, answer.trouble) == (0, "the API server did not answer in time")


async def test_where_no_time_is_left_nothing_is_sent(server: Server) -> None:
    assert (await server.kube.get("/x", deadline=soon(-1))).trouble == "no time was left to ask the API server"
    assert server.asked == []


async def test_a_connection_that_breaks_is_told(server: Server) -> None:
    def cut(handler: Handler) -> None:
        handler.close_connection = True
        handler.connection.close()

    server.running.reply = cut
    assert (await server.kube.get("/x", deadline=soon())).trouble == "the connection to the API server broke"


async def test_a_server_of_another_authority_is_not_asked(server: Server) -> None:
    other = server.folder / "other.crt"
    trustme.CA().cert_pem.write_to_path(str(other))
    kube = server.door(ca=str(other))
    assert (await kube.get("/x", deadline=soon())).trouble == "the API server's certificate is not trusted"
    assert server.asked == []
    kube.close()


async def test_one_that_is_not_there_is_told() -> None:
    kube = Kube(Access("https://127.0.0.1:1", dict))
    assert (await kube.get("/x", deadline=soon())).trouble == "the API server refuses the connection"
    kube.close()


def pages(*sizes: int, expire: int = 0, rest: bytes = b"") -> Reply:
    """A list in pages; `expire` is the number of times that a page after the first has expired, `rest` what is said then:
    by itself where its rest begins."""
    left = [expire]

    def reply(handler: Handler) -> None:
        token = handler.path.partition("continue=")[2]
        number = int(token.removeprefix("rest-") or 0)
        if number and left[0]:
            left[0] -= 1
            expired = {"kind": "Status", "code": 410, "metadata": {"continue": f"rest-{number}"}}
            handler.say(410, rest or json.dumps(expired).encode())
            return
        more = {"continue": str(number + 1)} if number + 1 < len(sizes) else {}
        handler.say(200, json.dumps({"metadata": more, "items": [{"page": number}] * sizes[number]}).encode())

    return reply


async def listed(kube: Kube) -> list[Any]:
    return [
        json.loads(bytes(item)) for page in [one async for one in kube.pages("/pods", deadline=soon())] for item in page
    ]


async def test_a_list_comes_page_by_page(server: Server) -> None:
    server.running.reply = pages(2, 2, 1)
    assert [item["page"] for item in await listed(server.kube)] == [0, 0, 1, 1, 2]
    assert server.asked[0][1] == "/pods?limit=250"


async def test_a_list_that_expires_on_the_way_goes_on_and_gives_no_item_twice(server: Server) -> None:
    server.running.reply = pages(1, 2, 1, expire=1)
    assert [item["page"] for item in await listed(server.kube)] == [0, 1, 1, 2]
    assert [path.partition("&continue=")[2] for _, path, *_ in server.asked] == ["", "1", "rest-1", "2"]


@pytest.mark.parametrize("rest", [b"", b"{}", b'{"metadata": {}}', b"<html>"], ids=["again", "none", "empty", "odd"])
async def test_a_list_that_expires_for_good_is_broken(server: Server, rest: bytes) -> None:
    server.running.reply = pages(1, 1, expire=9, rest=rest)
    with pytest.raises(ListBroke, match="410"):
        await listed(server.kube)
    assert len(server.asked) <= 3


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (lambda handler: handler.say(403), "the API server answers 403"),
        (lambda handler: handler.say(200, b"<html>"), "something that is no list"),
        (lambda handler: handler.say(200, b'{"items": 7}'), "something that is no list"),
    ],
)
async def test_a_list_that_cannot_be_read_says_why(server: Server, reply: Reply, why: str) -> None:
    server.running.reply = reply
    with pytest.raises(ListBroke, match=why):
        await listed(server.kube)


async def test_more_requests_than_threads_are_all_answered(server: Server) -> None:
    answers = await asyncio.gather(*(server.kube.get(f"/{number}", deadline=soon()) for number in range(50)))
    assert {answer.status for answer in answers} == {200}


async def test_no_trouble_shows_the_token(server: Server) -> None:
    server.running.reply = lambda handler: handler.say(401)
    answer = await server.kube.get("/x", deadline=soon())
    assert "canary" not in repr(answer)
    assert "canary" not in repr(server.kube)


WARNINGS = [
    ("nothing", {}, ()),
    ("one", {"Warning": '299 - "policy/v1beta1 is deprecated"'}, ("policy/v1beta1 is deprecated",)),
    ("an agent", {"Warning": '299 kube-apiserver "old"'}, ("old",)),
    ("quotes and backslashes", {"Warning": r'299 - "a \"b\" c:\\d"'}, ('a "b" c:\\d',)),
    ("two in a line", {"Warning": '299 - "a, b", 299 - "c"'}, ("a, b", "c")),
    ("UTF-8", {"Warning": '299 - "größer"'.encode().decode("latin-1")}, ("größer",)),
    ("no warning", {"Warning": "nonsense"}, ()),
]


@pytest.mark.parametrize("status", [201, 403])
@pytest.mark.parametrize(("headers", "expected"), [row[1:] for row in WARNINGS], ids=[row[0] for row in WARNINGS])
async def test_what_the_server_warns_of_is_read(
    server: Server, headers: dict[str, str], expected: tuple[str, ...], status: int
) -> None:
    """RFC 7234, 5.5, as the API server writes it (apiserver, endpoints/handlers/warnings)."""
    server.running.reply = lambda handler: handler.say(status, **headers)
    assert (await server.kube.send("POST", "/x", {}, deadline=soon())).warnings == expected


SAID = [
    (Answer(404, b'{"kind":"Status","message":"pods \\"x\\" not found"}'), 'pods "x" not found'),
    (Answer(403, b"<html>"), "the API server answers 403"),
    (Answer(500, b'{"message":""}'), "the API server answers 500"),
    (Answer(0, trouble="the API server refuses the connection"), "the API server refuses the connection"),
]


@pytest.mark.parametrize(("answer", "expected"), SAID, ids=[str(row[0].status) for row in SAID])
def test_why_is_told_in_the_servers_words_where_it_has_some(answer: Answer, expected: str) -> None:
    assert said(answer) == expected
