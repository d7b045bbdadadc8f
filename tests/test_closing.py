"""A port that is closed while callers come: each is let in or told that nobody is there, none is reset."""

import socket
import sys
from collections.abc import Iterator

import pytest

from webhook.closing import close, turn_away


@pytest.fixture
def port() -> Iterator[socket.socket]:
    """A port that listens."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def caller(port: socket.socket) -> socket.socket:
    """One whose connection is made; nobody has accepted it."""
    return socket.create_connection(port.getsockname(), timeout=0.2)


def test_who_came_before_it_was_closed_is_let_in(port: socket.socket) -> None:
    callers = [caller(port) for _ in range(3)]
    let_in = close(port)
    assert [one.getpeername() for one in let_in] == [one.getsockname() for one in callers]
    for ours, theirs in zip(let_in, callers, strict=True):
        theirs.sendall(b"ping")
        assert ours.recv(4) == b"ping"
        ours.sendall(b"pong")
        assert theirs.recv(4) == b"pong"
        ours.close()
        theirs.close()


def test_who_comes_after_it_was_closed_is_refused(port: socket.socket) -> None:
    address = port.getsockname()
    assert close(port) == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


@pytest.mark.skipif(sys.platform != "linux", reason="the filter is Linux's")
def test_who_comes_while_it_is_being_closed_is_not_heard_so_that_nothing_is_reset(port: socket.socket) -> None:
    before = caller(port)
    turn_away(port)
    with pytest.raises(TimeoutError):
        caller(port)
    (let_in,) = close(port)
    before.sendall(b"ping")
    assert let_in.recv(4) == b"ping"
    before.close()
    let_in.close()
