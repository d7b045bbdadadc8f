"""Where Pods shall pull from: a compiled template, the paths it serves, and what it asks of us first."""

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final, Literal, Self

import msgspec

from webhook.core.globs import Globs
from webhook.core.reference import BadReference, Reference, parsed

PLACEHOLDERS = ("registry", "path", "repository")
_PLACEHOLDER = re.compile(r"\{([a-zA-Z0-9_]+)\}")
_LOOPBACK = "localhost"
# As /etc/hosts of the distributions has them; all names below localhost are it too (RFC 6761, section 6.3).
LOOPBACK_NAMES: Final = frozenset(
    {_LOOPBACK, "localhost.localdomain", "localhost4", "localhost6", "ip6-localhost", "ip6-loopback"}
)
_NUMBER = re.compile(r"[0-9]{1,16}|0x[0-9a-f]{1,16}", re.ASCII)
_MAX_PORT_DIGITS = 16


class Place(msgspec.Struct, frozen=True):
    """A template for image names whose variables are filled: `host/prefix{path}suffix`.

    `{path}` is the image's path, `{registry}` its host, `{repository}` both with a slash between. `host` (with
    `{registry}` where the image's own is used) and `prefix`, what stands before the path's first placeholder,
    follow from the template.
    """

    template: str
    host: str = ""
    prefix: str = ""
    is_plain: bool = False

    def __post_init__(self) -> None:
        host, _, rest = self.template.partition("/")
        prefix, _, _ = rest.partition("{")
        for name, value in (
            ("host", host),
            ("prefix", prefix),
            ("is_plain", f"{host}/{prefix}{{path}}" == self.template),
        ):
            msgspec.structs.force_setattr(self, name, value)
        msgspec.structs.force_setattr(self, "is_plain", self.is_plain and "{" not in host)

    def fill(self, image: Reference) -> Reference:
        """The same tag and digest at this place.

        Raises:
            BadReference: what comes out is no image name, or would be read as another host or path.
        """
        if self.is_plain:
            registry, path = self.host, self.prefix + image.path
        else:
            values = {"registry": image.registry, "path": image.path, "repository": image.repository}
            registry, _, path = _PLACEHOLDER.sub(lambda found: values[found[1]], self.template).partition("/")
        again = parsed(str(image.moved_to(registry, path)))
        if isinstance(again, BadReference):
            raise again
        if again.registry != registry or again.path != path:
            raise BadReference(f"{registry}/{path}", f"it would be read as {again}")
        return again

    def origins(self, image: Reference, hosts: Iterable[str]) -> list[Reference]:
        """The images of these hosts that this place would give exactly this name: `fill` the other way round."""
        found = _inverse(self.template).fullmatch(_on_host(image, self.host).repository)
        if found is None:
            return []
        parts = found.groupdict()
        host, _, path = (
            parts["repository"].partition("/") if "repository" in parts else (None, "", parts.get("path", ""))
        )
        candidates = [parts["registry"]] if "registry" in parts else hosts if host is None else [host]
        origins = [Reference(candidate, path, image.tag, image.digest) for candidate in candidates if path]
        return [one for one in origins if isinstance(parsed(str(one)), Reference)]


def places_of(places: Iterable[Place], image: Reference) -> tuple[Reference, ...]:
    """The image at each of these places that can have it: behind a prefix a long path may be none any more."""
    found = []
    for place in places:
        try:
            found.append(place.fill(image))
        except BadReference:
            continue
    return tuple(found)


class Verify(msgspec.Struct, frozen=True):
    """Ask whether the target holds the digest: `at` where the webhook can reach it (scheme and place), else at the target."""

    at: Place | None = None
    scheme: Literal["http", "https"] = "https"
    platforms: tuple[str, ...] = ()


class Target(msgspec.Struct, frozen=True):
    """A place to pull from. `pull` says whose credentials the kubelet has there; `guard` what happens to Pods that
    name it by hand; `gated` whether its health is watched."""

    name: str
    place: Place
    paths: Globs = Globs(("**",))
    verify: Verify | None = None
    gated: bool = False
    pull: Literal["anonymous", "node", "secret"] = "node"
    guard: Literal["off", "warn", "refuse"] = "off"

    @classmethod
    def of_host(cls, host: str) -> Self:
        """The target that a bare host in a rule's list stands for."""
        pull, guard = defaults_for(host)
        return cls(host, Place(f"{host}/{{path}}"), pull=pull, guard=guard)

    @property
    def asks_no_password(self) -> bool:
        """Whether anyone who can name a digest can pull it there."""
        return self.pull == "anonymous"

    @property
    def is_asked_first(self) -> bool:
        """Whether something has to be known before an image is sent there."""
        return self.gated or self.verify is not None or self.pull == "secret"

    def holds_name(self, image: Reference) -> bool:
        """Whether the image already names this target: host (under any of loopback's names) and path prefix."""
        return _same_host(image.registry, self.place.host) and image.path.startswith(self.place.prefix)


def defaults_for(host: str) -> tuple[Literal["anonymous", "node"], Literal["warn", "off"]]:
    """`pull` and `guard` of a target that says neither: a cache on the node asks no password."""
    return ("anonymous", "warn") if is_loopback(host) else ("node", "off")


def find_target(targets: Iterable[Target], image: Reference) -> Target | None:
    """The first target whose name the image bears."""
    for target in targets:
        if target.holds_name(image):
            return target
    return None


@lru_cache(maxsize=1024)
def _inverse(template: str) -> re.Pattern[str]:
    seen: set[str] = set()
    expression = ""
    for index, part in enumerate(_PLACEHOLDER.split(template)):
        if index % 2 == 0:
            expression += re.escape(part)
        elif part in seen:
            expression += f"(?P={part})"
        else:
            seen.add(part)
            expression += f"(?P<{part}>[^/]+)" if part == "registry" else f"(?P<{part}>.+)"
    return re.compile(expression, re.ASCII)


def _on_host(image: Reference, host: str) -> Reference:
    # Loopback has several names; the template knows one of them.
    return image.moved_to(host, image.path) if _same_host(image.registry, host) else image


def _split_port(host: str) -> tuple[str, str]:
    name, colon, port = host.rpartition(":")
    return (name, port) if colon and port.isdigit() else (host, "")


@lru_cache(maxsize=1024)
def _meant(host: str) -> tuple[str, int]:
    """What a dialler makes of a host: one name for all spellings of loopback, and the port as a number. Names know no
    case, and a port knows no leading nought."""
    name, port = _split_port(host)
    is_own = is_loopback(host)
    usual = 80 if is_own else 443  # containerd speaks plain HTTP to loopback only
    return _LOOPBACK if is_own else name.lower(), int(port[-_MAX_PORT_DIGITS:]) if port else usual


def is_loopback(host: str) -> bool:
    """Whether a dialler ends at the node itself: any spelling of loopback, and the unspecified address, which Linux
    takes for it."""
    name = _split_port(host)[0].lower()
    if name in LOOPBACK_NAMES or name.endswith(f".{_LOOPBACK}"):
        return True
    number = _number(name)
    if number is not None:
        return number == 0 or number >> 24 == 127
    try:
        address = ip_address(name.strip("[]"))
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback or address.is_unspecified


def _number(name: str) -> int | None:
    """The IPv4 address that inet_aton(3) reads from one to four numbers, decimal, octal or hexadecimal; None when it is
    none."""
    parts = name.split(".")
    if len(parts) > 4 or not all(map(_NUMBER.fullmatch, parts)):
        return None
    try:
        numbers = [int(part, 16 if part[:2] == "0x" else 8 if part[0] == "0" else 10) for part in parts]
    except ValueError:
        return None
    *bytes_, rest = numbers
    if any(byte > 255 for byte in bytes_) or rest >= 256 ** (5 - len(parts)):
        return None
    return sum(byte << 24 - 8 * index for index, byte in enumerate(bytes_)) + rest


def _same_host(one: str, other: str) -> bool:
    return one == other or _meant(one) == _meant(other)
