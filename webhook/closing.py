"""How a port is closed without resetting anybody: who is new is not heard, who came is let in."""

import contextlib
import ctypes
import socket
import struct
from typing import Final

IN_FLIGHT: Final = 0.05
"""Seconds for handshakes of TCP that were under way: a round trip in any cluster."""
_ATTACH_FILTER: Final = 26
"""SO_ATTACH_FILTER of Linux (asm-generic/socket.h), which Python has no name for."""
_LOAD_BYTE, _JUMP_IF_SET, _RETURN = 0x30, 0x45, 0x06
_FLAGS, _SYN, _WHOLE = 13, 0x02, 0xFFFFFFFF
_NO_SYN: Final = (
    (_LOAD_BYTE, 0, 0, _FLAGS),
    (_JUMP_IF_SET, 0, 1, _SYN),
    (_RETURN, 0, 0, 0),
    (_RETURN, 0, 0, _WHOLE),
)
"""A program of classic BPF, which sees a segment from its TCP header on (RFC 9293, 3.1): drop it if it opens a connection."""


def turn_away(listening: socket.socket) -> None:
    """Hear no new caller from now on: the kernel drops what opens a connection, and the caller tries again in a second.

    Without it a caller whose connection is made between the last `accept` and `close` is reset, however short that
    is. Where the kernel has no such filter, that is how it is.
    """
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in _NO_SYN))
    with contextlib.suppress(OSError):
        listening.setsockopt(
            socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("@HP", len(_NO_SYN), ctypes.addressof(program))
        )


def close(listening: socket.socket) -> list[socket.socket]:
    """Close the port; the callers whom the kernel took already, whom closing alone would reset."""
    came = []
    with contextlib.suppress(OSError):
        listening.setblocking(False)
        while True:
            came.append(listening.accept()[0])
    listening.close()
    return came
