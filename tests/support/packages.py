"""What Moorage is made of: the packages that it needs, as they are installed, and as they are pinned."""

from importlib.metadata import requires
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TOP: Final = Path(__file__).parents[2]
IMAGE: Final = "moorage[ecr,acr,gar]"
"""What the image holds: `moorage[clouds]` would only name the others."""
COMMAND: Final = "moorage"


def needed(name: str) -> set[str]:
    """A distribution and all that it needs to run, on any system that its pins are for."""
    found: set[tuple[str, str]] = set()
    asked = [Requirement(name)]
    while asked:
        one = asked.pop()
        key = canonicalize_name(one.name)
        for extra in one.extras | {""}:
            if (key, extra) in found:
                continue
            found.add((key, extra))
            asked += [more for more in map(Requirement, requires(key) or ()) if _applies(more, extra)]
    return {key for key, _ in found}


def _applies(one: Requirement, extra: str) -> bool:
    return one.marker is None or one.marker.evaluate({"extra": extra})


def lines(lock: str) -> dict[str, str]:
    """The lines of a lock under `requirements/`, joined with their hashes, by the name of the package."""
    whole = (TOP / "requirements" / lock).read_text().replace("\\\n", "")
    return {canonicalize_name(line.partition("==")[0].partition("[")[0]): line for line in whole.splitlines()}


def pinned(lock: str, name: str) -> dict[str, str]:
    """What a distribution needs besides itself, with the versions of a lock."""
    wanted = needed(name) - {canonicalize_name(Requirement(name).name)}
    return {key: line.partition("==")[2].split()[0] for key, line in lines(lock).items() if key in wanted}
