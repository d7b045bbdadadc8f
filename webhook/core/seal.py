"""Seals: how Moorage recognises what Moorage wrote."""

import hmac
from hashlib import sha256
from typing import Final

from webhook.core.secret import Secret

MIN_KEY: Final = 32


class Sealer:
    """Signs with the first key and believes all of them, so that a key can be rotated while rollouts live."""

    def __init__(self, keys: tuple[Secret, ...]) -> None:
        if not keys or any(len(key.reveal().encode()) < MIN_KEY for key in keys):
            raise ValueError(f"a seal key needs at least {MIN_KEY} bytes")
        self._secrets = keys
        self._keys = tuple(key.reveal().encode() for key in keys)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sealer) and other._keys == self._keys

    def __hash__(self) -> int:
        return hash(self._keys)

    def newest(self) -> "Sealer":
        """With the key alone that signs."""
        return self if len(self._secrets) == 1 else Sealer(self._secrets[:1])

    def seal(self, *parts: bytes) -> str:
        """The seal over these parts: 32 hexadecimal digits of an HMAC-SHA256."""
        return _seal(self._keys[0], parts)

    def believes(self, seal: str, *parts: bytes) -> bool:
        """Whether one of the keys made this seal over these parts."""
        given = seal.encode()
        return any(hmac.compare_digest(_seal(key, parts).encode(), given) for key in self._keys)


def _seal(key: bytes, parts: tuple[bytes, ...]) -> str:
    # Lengths go in too: "ab" + "c" and "a" + "bc" must not share a seal.
    text = b"".join([b"%d:%b" % (len(part), part) for part in parts])
    return hmac.digest(key, text, sha256).hex()[:32]
