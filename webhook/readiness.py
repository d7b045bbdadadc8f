"""Whether a caller would be answered: our own TLS handshake, made from outside as the API server makes it."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Final

from webhook.tls import Pair

WITHIN: Final = 2.0
"""Seconds that a handshake may take: who waits longer than this would not call us ready either."""
LIFE: Final = 1.0
"""Seconds for which what was found is told again, however often somebody asks."""


class Handshake:
    """Shakes hands with the listener at `address` and looks at the leaf that it shows; `wall` is in unix seconds."""

    def __init__(
        self,
        address: Callable[[], tuple[str, int]],
        believed: Callable[[], Pair],
        *,
        wall: Callable[[], float],
        within: float = WITHIN,
        life: float = LIFE,
    ) -> None:
        self._address = address
        self._believed = believed
        self._wall = wall
        self._within = within
        self._life = life
        self._lock = asyncio.Lock()
        self._known_until = 0.0
        self._known = ""

    async def problem(self) -> str:
        """What is wrong; empty when all is well."""
        # One at a time: who comes while one is made hears what it found.
        async with self._lock:
            clock = asyncio.get_running_loop().time
            if clock() >= self._known_until:
                self._known = await self._look()
                self._known_until = clock() + self._life
            return self._known

    async def _look(self) -> str:
        before = self._believed()
        try:
            async with asyncio.timeout(self._within):
                leaf = await _shown_leaf(*self._address())
        except TimeoutError:
            return f"no handshake within {self._within:g} s"
        except OSError as failed:
            return f"no handshake: {type(failed).__name__}"
        believed = self._believed()
        if self._wall() >= believed.expires:
            return "the certificate has expired"
        # Both are right while one takes over from the other.
        return "" if leaf in {before.leaf, believed.leaf} else "another certificate is shown than the one in force"


async def _shown_leaf(host: str, port: int) -> bytes:
    """The leaf in DER that a listener shows. Nothing is verified: it need not bear the name of our address, and whether
    its authority is the one that callers know can only be seen from where they are."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _, writer = await asyncio.open_connection(host, port, ssl=context, ssl_shutdown_timeout=WITHIN)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return bytes(shown or b"")
