"""The port while the system has no connection left to give."""

import asyncio
import errno
import socket
from typing import Any

from webhook.arrivals import Arrivals
from webhook.tls import context, self_signed, utc_now


class Exhausted(socket.socket):
    """A socket whose first callers cannot be taken."""

    left = 2

    def accept(self) -> tuple[socket.socket, Any]:
        if self.left:
            self.left -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


async def test_callers_who_came_while_files_ran_out_are_taken_later_and_somebody_is_told() -> None:
    pair, _ = self_signed("localhost", now=utc_now())
    told: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, what: told.append(what))
    taken = asyncio.Event()

    def made() -> asyncio.Protocol:
        taken.set()
        return asyncio.Protocol()

    with Exhausted() as port:
        port.bind(("127.0.0.1", 0))
        arrivals = Arrivals(port, made, lambda: context(pair, client_ca=""), breath=0.01)
        arrivals.listen(8)
        with socket.create_connection(port.getsockname()):
            await taken.wait()
        arrivals.close()
        arrivals.hang_up()
        await arrivals.wait_closed()
    assert [what["message"] for what in told] == ["the system gives no connection"] * 2
