"""Which answers are worth another attempt: the lists of requirement R10, and the times of R9."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.core.challenge import Response, Trouble
from webhook.core.reason import Reason
from webhook.core.retry import LONGEST_WAIT, SHORTEST, first_deadline, fits, pause_after

SOON = 0.02, 0.1
"""The least and the longest pause after what passes by itself."""

AGAIN = [
    (Response(408), SOON),
    (Response(500), SOON),
    (Response(502), SOON),
    (Response(503), SOON),
    (Response(503, retry_after=3600.0), SOON),
    (Response(504), SOON),
    (Trouble(Reason.UNAVAILABLE, "the connection broke"), SOON),
    (Trouble(Reason.OUT_OF_TIME, "no answer in time"), (0.0, 0.0)),
    (Trouble(Reason.THROTTLED, "it asks to wait (429)"), (0.08, 0.4)),
    (Trouble(Reason.THROTTLED, "it asks to wait (429)", 0.0), (0.08, 0.4)),
    (Trouble(Reason.THROTTLED, "it asks to wait (429)", 1.0), (1.08, 1.4)),
]
ONCE = [
    # 499 and 522 are what proxies say of a client that left and a server that is gone: ggcr tries again, the list does not.
    *map(
        Response, (200, 204, 301, 304, 307, 400, 401, 402, 403, 404, 405, 406, 410, 418, 425, 451, 499, 501, 505, 522)
    ),
    Trouble(Reason.THROTTLED, "it asks to wait (429)", LONGEST_WAIT + 0.1),
    Trouble(Reason.THROTTLED, "it asks to wait (429)", 86_400.0),
    *(
        Trouble(reason, "")
        for reason in (
            Reason.BAD_REGISTRY,
            Reason.LOGIN_REFUSED,
            Reason.HOST_NOT_LISTED,
            Reason.ADDRESS_REFUSED,
            Reason.ABSENT,
        )
    ),
]


@pytest.mark.parametrize(("answer", "pause"), AGAIN)
def test_what_may_pass_is_tried_once_more(answer: Response | Trouble, pause: tuple[float, float]) -> None:
    assert (pause_after(answer, 0.0), pause_after(answer, 1.0)) == pytest.approx(pause)


@pytest.mark.parametrize("answer", ONCE, ids=str)
def test_what_is_said_is_said(answer: Response | Trouble) -> None:
    assert pause_after(answer, 0.5) is None


@pytest.mark.parametrize(
    ("left", "first"),
    [(4.0, 2.4), (10.0, 6.0), (0.7, 0.42), (0.6, 0.6), (0.1, 0.1), (0.0, 0.0), (-1.0, -1.0)],
)
def test_the_first_attempt_leaves_time_for_another_where_there_is_enough(left: float, first: float) -> None:
    assert first_deadline(100.0, 100.0 + left) == pytest.approx(100.0 + first)


@given(st.floats(0.0, 30.0), st.floats(0.0, 5.0))
def test_no_attempt_is_begun_that_cannot_be_ended(left: float, pause: float) -> None:
    assert first_deadline(100.0, 100.0 + left) <= 100.0 + left
    assert fits(pause, 100.0, 100.0 + left) is (100.0 + pause + SHORTEST < 100.0 + left)
