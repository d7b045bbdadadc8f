"""What a URL that somebody else wrote leads to: read once, and written anew, so that no two parsers differ on it."""

import re
from typing import Final
from urllib.parse import urljoin

import msgspec

from webhook.core.reference import is_dialable, is_host

MAX_URL: Final = 4096
MAX_HOST: Final = 255
DEFAULT_PORT: Final = {"https": ":443", "http": ":80"}

# WHATWG takes a backslash for a slash, RFC 3986 knows none.
_VISIBLE = re.compile(r"[!-\[\]-~]*", re.ASCII)
_URL = re.compile(r"(https?)://([^/?#@]+)(/[^?#]*)?(?:\?([^#]*))?(#.*)?", re.ASCII | re.IGNORECASE)


class Place(msgspec.Struct, frozen=True):
    """Scheme, lower-case host with its port unless the scheme has it anyway, path and query."""

    scheme: str
    host: str
    path: str = "/"
    query: str = ""

    @property
    def url(self) -> str:
        """The whole URL."""
        return f"{self.scheme}://{self.host}{self.path}{'?' if self.query else ''}{self.query}"

    @property
    def names(self) -> tuple[str, str]:
        """The host without and with the default port: a configuration may say either."""
        return self.host, f"{self.host}{DEFAULT_PORT[self.scheme]}"


def read_url(text: str, base: str) -> Place | None:
    """The place that a text means when it stands in an answer to a request for `base`; None when it is no http or https
    URL of a plain host, without a user."""
    if len(text) > MAX_URL or _VISIBLE.fullmatch(text) is None:
        return None
    try:
        found = _URL.fullmatch(urljoin(base, text))
    except ValueError:
        return None
    if found is None:
        return None
    scheme, host = found[1].lower(), found[2].lower()
    if len(host) > MAX_HOST or not is_host(host) or not is_dialable(host):
        return None
    return Place(scheme, host.removesuffix(DEFAULT_PORT[scheme]), found[3] or "/", found[4] or "")
