"""`moorage config registration`: the registration for a configuration, printed."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from webhook.cli import common
from webhook.cli.exits import Exit, Stop


class FailurePolicy(StrEnum):
    """The values of `--failure-policy`."""

    IGNORE = "Ignore"
    FAIL = "Fail"


class Wanted(NamedTuple):
    """What the options say. `url` is empty for a Service."""

    failure_policy: FailurePolicy
    url: str
    namespace: str
    service: str
    path: str
    ca_file: Path | None
    excluded: Sequence[str]
    only: Sequence[str]
    opt_in: bool
    conditions: bool
    managed: bool


def document(chosen: common.Choices, wanted: Wanted) -> dict[str, Any]:
    """The object.

    Raises:
        Stop: an option, or the configuration, cannot be used.
    """
    from webhook.core.conditions import EVERYTHING, needed
    from webhook.core.registration import Reached, registration

    if wanted.url and not wanted.url.startswith("https://"):
        raise Stop(Exit.USAGE, f"--url {wanted.url}: write it as https://HOST:PORT, as the API server reaches Moorage")
    if not wanted.path.startswith("/") and (wanted.path or wanted.url):
        raise Stop(Exit.USAGE, f"--path {wanted.path}: it begins with a slash")
    if wanted.failure_policy is FailurePolicy.FAIL and not wanted.only and not wanted.opt_in:
        common.say(
            "warning: --failure-policy Fail in all namespaces: while Moorage is down no Pod starts; see --opt-in"
        )
    coverage = EVERYTHING
    if wanted.conditions:
        coverage = needed(common.load(chosen).rules)
        if coverage.everything:
            common.say("warning: no conditions: a rule may match any host, or there are too many for the API server")
    return registration(
        Reached(wanted.path, wanted.namespace, wanted.service, wanted.url, _authority(wanted.ca_file)),
        excluded=[wanted.namespace, *wanted.excluded],
        only=wanted.only,
        opt_in=wanted.opt_in,
        failure_policy=wanted.failure_policy.value,
        coverage=coverage,
        managed=wanted.managed,
    )


def _authority(file: Path | None) -> bytes:
    if file is None:
        return b""
    from webhook.pem import BadAuthorities, authorities

    try:
        return authorities(file.read_text()).encode()
    except OSError as failed:
        raise Stop(Exit.USAGE, f"--ca-file {file}: {failed.strerror}") from None
    except (BadAuthorities, UnicodeDecodeError) as bad:
        why = str(bad) if isinstance(bad, BadAuthorities) else "it is no text"
        raise Stop(Exit.USAGE, f"--ca-file {file}: {why}") from None
