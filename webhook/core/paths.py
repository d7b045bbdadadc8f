"""Path secrets: the last part of the one address at which reviews are answered."""

from typing import Final

from webhook.core.secret import Secret

FOLDER: Final = "/mutate"
LEAST: Final = 16


class BadPath(ValueError):
    """No path secret; never says what was there."""


def path_secrets(text: str) -> tuple[Secret, ...]:
    """The secrets in a text, one a line; the first is the one that callers are told.

    Raises:
        BadPath: none, or one that is too short or has other signs than letters and digits.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or any(len(one) < LEAST or not one.isascii() or not one.isalnum() for one in lines):
        raise BadPath(f"at least {LEAST} letters and digits are wanted")
    return tuple(map(Secret, lines))


def path_of(secret: Secret | None) -> str:
    """Where reviews arrive."""
    return f"{FOLDER}/{secret.reveal()}" if secret is not None else FOLDER


def secret_of(path: str) -> Secret | None:
    """The secret in a path; None where there is none that would do."""
    folder, _, last = path.rpartition("/")
    if folder != FOLDER:
        return None
    try:
        (secret,) = path_secrets(last)
    except (BadPath, ValueError):
        return None
    return secret
