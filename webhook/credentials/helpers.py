"""Asks the credential helpers of the user's docker config. For the command line only: a server starts no program.

The protocol is docker's (docker/docker-credential-helpers): `docker-credential-NAME get`, the server on standard
input, a JSON object on standard output; the user name `<token>` marks an identity token.
"""

import asyncio
import os
import re
import shutil
import signal
from collections.abc import Mapping
from typing import Final

import msgspec

from webhook.core.broken import UNREADABLE
from webhook.core.credential import Credential
from webhook.core.secret import Secret

HELPER_KIND: Final = "helper"
LONGEST: Final = 10.0
"""Seconds that a helper may take, whatever the deadline of the image: the next image may still profit."""

_MOST_BYTES: Final = 256 * 1024
_IDENTITY_TOKEN: Final = "<token>"  # noqa: S105 - the mark, not a token
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}", re.ASCII)
_NOTHING_KNOWN: Final = b"credentials not found in native keychain"


class HelperFailed(Exception):
    """A helper gave no usable answer. Never shows what it printed."""


class _Answer(msgspec.Struct, rename="pascal"):
    username: str = ""
    secret: str = ""

    def __repr__(self) -> str:
        return "_Answer(***)"


class Helpers:
    """Runs credential helpers with the environment that the command line was started in."""

    def __init__(self, environ: Mapping[str, str], *, longest: float = LONGEST) -> None:
        self._environ = dict(environ)
        self._longest = longest

    async def ask(self, name: str, server: str) -> Credential | None:
        """The credential that the helper `name` has for a server; None when it knows none.

        Raises:
            HelperFailed: there is no such helper, or it failed, hung or printed something else.
        """
        program = f"docker-credential-{name}"
        if not _NAME.fullmatch(name):
            raise HelperFailed(f"{name[:80]!r} is no name of a credential helper")
        path = shutil.which(program, path=self._environ.get("PATH", ""))
        if path is None:
            raise HelperFailed(f"{program} is not on the PATH")
        try:
            async with asyncio.timeout(self._longest):
                code, printed = await self._run(path, server)
        except TimeoutError:
            raise HelperFailed(f"{program} gave no answer within {self._longest:g} s") from None
        except OSError as failed:
            raise HelperFailed(f"{program} cannot be started ({failed.strerror})") from None
        if code != 0:
            if _NOTHING_KNOWN in printed:
                return None
            raise HelperFailed(f"{program} ended with {code}")
        return _credential(program, printed)

    async def _run(self, path: str, server: str) -> tuple[int, bytes]:
        # A session of its own, so that what the helper started ends with it.
        process = await asyncio.create_subprocess_exec(
            path,
            "get",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=self._environ,
            start_new_session=True,
        )
        try:
            return await _conversed(process, server)
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()


async def _conversed(process: asyncio.subprocess.Process, server: str) -> tuple[int, bytes]:
    if process.stdin is None or process.stdout is None:
        raise HelperFailed("a credential helper has no standard input or output")
    try:
        process.stdin.write(server.encode())
        process.stdin.close()
        await process.stdin.wait_closed()
    except (BrokenPipeError, ConnectionResetError):
        pass  # It may answer without reading; what it says counts.
    printed = bytearray()
    while chunk := await process.stdout.read(_MOST_BYTES):
        printed += chunk
        if len(printed) > _MOST_BYTES:
            raise HelperFailed("a credential helper printed more than any credential is long")
    return await process.wait(), bytes(printed)


def _credential(program: str, printed: bytes) -> Credential | None:
    try:
        answer = msgspec.json.decode(printed, type=_Answer)
    except UNREADABLE:
        raise HelperFailed(f"{program} printed no credential") from None
    if not answer.secret:
        return None
    if answer.username == _IDENTITY_TOKEN:
        return Credential(HELPER_KIND, identity_token=Secret(answer.secret))
    return Credential(HELPER_KIND, answer.username, Secret(answer.secret))
