"""All that one who has not shown who he is gets to hear at the admission port: a closed list of texts and headers.

No more than what the API server shows a Pod's author: nothing of the configuration, of other callers, of what is decided, nor
of what was sent.
"""

import asyncio
from collections import Counter
from typing import Any, Final

import pytest

from tests.support.serving import Running, post, review, serving
from webhook.core.admission import MAX_BODY
from webhook.core.secret import Secret

SECRET: Final = "s3cr3ts3cr3ts3cr3t"
PLACE: Final = f"/mutate/{SECRET}"
CANARY: Final = "canary-of-the-caller"
HEAD: Final = f"POST {PLACE} HTTP/1.1\r\nHost: {CANARY}\r\n".encode()
OTHER_HEAD: Final = HEAD.replace(f"/{SECRET}".encode(), b"")
TEXT: Final = {"content-type": "text/plain; charset=utf-8"}
CLOSE: Final = {"connection": "close"}

NO_REVIEW: Final = b"the body is not an AdmissionReview in JSON with a request.uid\n"
NO_VERSION: Final = b"not an AdmissionReview of admission.k8s.io/v1 with a request.uid\n"
NO_HTTP: Final = b"this is no HTTP request\n"
NOTHING: Final = b"reviews are answered at /mutate\n"
TOO_LARGE: Final = b"a review has at most 7340032 bytes\n"

ROWS: Final[list[tuple[str, bytes, int, bytes, dict[str, str]]]] = [
    ("no JSON", post(CANARY.encode(), path=PLACE), 400, NO_REVIEW, {}),
    ("another document", post(b'{"kind":"canary-of-the-caller","request":{"uid":"a"}}', path=PLACE), 400, NO_VERSION, {}),
    ("a review without uid", post(review(""), path=PLACE), 400, NO_VERSION, {}),
    ("no HTTP", f"{CANARY}\r\n\r\n".encode(), 400, NO_HTTP, CLOSE),
    ("a broken length", HEAD + b"Content-Length: canary\r\n\r\n", 400, NO_HTTP, CLOSE),
    ("another path", post(review("a"), path=f"/{CANARY}"), 404, NOTHING, {}),
    ("the path without its secret", post(review("a")), 404, NOTHING, {}),
    ("a wrong secret", post(review("a"), path="/mutate/s3cr3ts3cr3ts3cr3X"), 404, NOTHING, {}),
    ("another method at another path", post(b"", path="/openapi.json", method="GET"), 404, NOTHING, {}),
    ("another method", post(b"", path=PLACE, method="GET"), 405, b"send an AdmissionReview with POST\n", {"allow": "POST"}),
    ("half a review", HEAD + b"Content-Length: 10\r\n\r\n{", 408, b"the request did not arrive in time\n", CLOSE),
    ("half a review elsewhere", OTHER_HEAD + b"X-Half: ", 408, b"the request did not arrive in time\n", CLOSE),
    ("a large body", HEAD + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1), 413, TOO_LARGE, CLOSE),
    ("a large body elsewhere", OTHER_HEAD + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1), 413, TOO_LARGE, CLOSE),
    ("large headers", HEAD + b"X-Long: " + b"x" * 500_000, 431, b"the headers are too large\n", CLOSE),
    ("one too many", post(review("wait-2"), path=PLACE), 503, b"too many reviews are under way\n", {**CLOSE, "retry-after": "1"}),
]  # fmt: skip
"""What is sent, and status, body and headers of the answer. What a caller of another name hears is in test_doorkeeper.py."""


@pytest.fixture(params=[True, False], ids=["lane", "asgi"])
def lane(request: pytest.FixtureRequest) -> Any:
    """Both ways to answer."""
    return request.param


async def answered(running: Running, data: bytes) -> tuple[int, bytes, dict[str, str]]:
    connection = await running.connect()
    await connection.send(data)
    status, headers, body = await connection.answer()
    connection.close()
    assert int(headers.pop("content-length")) == len(body)
    return status, body, headers


async def test_each_answer_is_one_of_a_closed_list(*, lane: bool) -> None:
    async with serving(lane=lane, secrets=(Secret(SECRET),), patience=2.0, in_flight=1) as running:
        waiting = await running.connect()
        await waiting.send(post(review("wait-1"), path=PLACE))
        await running.engine.waiting.wait()
        answers = await asyncio.gather(*(answered(running, data) for _, data, _, _, _ in ROWS))
        waiting.close()
        statuses = Counter(str(status) for _, _, status, _, _ in ROWS)
        # What was turned away for want of a place is counted as such.
        assert running.count("moorage_reviews_shed_total") == statuses.pop("503")
        assert running.refused() == statuses
    assert {name: answer for (name, *_), answer in zip(ROWS, answers, strict=True)} == {
        name: (status, body, TEXT | more) for name, _, status, body, more in ROWS
    }


def test_no_answer_repeats_what_was_sent_or_tells_the_secret() -> None:
    told = b"".join(body for _, _, _, body, _ in ROWS).decode()
    assert CANARY not in told
    assert SECRET not in told
