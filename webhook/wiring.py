"""Builds the objects: the only module that knows every edge. It decides nothing."""

import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from webhook.config import Loaded
from webhook.core.ask import AskDigest, AskHeld, AskPin, AskStanding, Oracle
from webhook.core.credential import Credential
from webhook.core.reason import Reason
from webhook.core.seal import Sealer
from webhook.core.secret import Secret
from webhook.engine import Clocks, Engine, Observer, Unasked

if TYPE_CHECKING:
    from webhook.credentials.source import Provider
    from webhook.outbound import Outbound
    from webhook.registry import RegistryClient
    from webhook.resolver import Memory, Resolver

CLOCKS: Final = Clocks(time.monotonic, lambda: time.time_ns() // 1_000_000)
FOREVER: Final = 10 * 365 * 86400.0
"""Seconds for which an answer stays fresh within one run of the command line."""


def own_sealer() -> Sealer:
    """A key of this process: it trusts what it wrote itself and nothing else."""
    return Sealer((Secret(secrets.token_hex(32)),))


def new_id() -> str:
    """What ties a warning to its log line."""
    return secrets.token_hex(6)


class Laptop(msgspec.Struct):
    """What the command line works with. `registry` and `credentials` are None when offline."""

    engine: Engine
    registry: "RegistryClient | None" = None
    resolver: "Resolver | None" = None


def offline_engine(loaded: Loaded) -> Engine:
    """Rules and targets, and nobody to ask. Imports no HTTP."""
    asked = Unasked(Reason.OFFLINE)
    oracles: dict[type, Oracle] = {AskDigest: asked, AskHeld: asked, AskStanding: asked, AskPin: asked}
    return Engine(loaded.rules, oracles, sealer=own_sealer(), clocks=CLOCKS, new_id=new_id)
