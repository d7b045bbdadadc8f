"""Tells what the image holds besides its base, as CycloneDX: `python -m tests.parts.sbom FILE`.

The same lock gives the same file, to the byte.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.support.packages import IMAGE, TOP, lines, pinned

LOCK: Final = "clouds.txt"
_OPTIONS: Final = ("--pyproject", TOP / "pyproject.toml", "--output-reproducible", "--short-PURLs", "--of", "JSON")


def main(place: Path, *options: str) -> None:
    """Write it to a file, whose folder is made. `options` are the tool's own."""
    known = lines(LOCK)
    held = "".join(f"{known[name]}\n" for name in sorted(pinned(LOCK, IMAGE)))
    tool = Path(sys.executable).with_name("cyclonedx-py")
    # What it says besides is that packages of a lock do not name what they need.
    done = subprocess.run(
        (tool, "requirements", *_OPTIONS, *options, "-"), input=held, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(done.stderr)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(done.stdout)
    print(f"{place}: {len(json.loads(done.stdout)['components'])} packages")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
