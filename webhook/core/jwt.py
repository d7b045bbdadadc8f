"""What a token says of itself. It is not checked: whoever issued it does that; we only want to know for how long."""

from base64 import urlsafe_b64decode
from typing import Any

import msgspec


def claims(token: str) -> dict[str, Any]:
    """Its claims; empty where it is no JSON Web Token."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        found = msgspec.json.decode(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, msgspec.DecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def life(token: str, wall: float) -> float | None:
    """The seconds that it lives from when it was issued, which is just now; by the clock `wall` where it does not say
    when that was. None when it does not say when it ends."""
    said = claims(token)
    ends, begins = said.get("exp"), said.get("iat", said.get("nbf", wall))
    if isinstance(ends, bool) or not isinstance(ends, int | float) or not isinstance(begins, int | float):
        return None
    return max(0.0, float(ends) - float(begins))
