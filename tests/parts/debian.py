"""Installs what the real cluster needs of Debian, where it is missing: `python -m tests.parts.debian`, as root."""

import os
import shutil
import subprocess
import sys
from typing import Final

PACKAGES: Final = (
    "buildah",
    "chromium",
    "containerd",
    "containernetworking-plugins",
    "debootstrap",
    "haproxy",
    "iproute2",
    "iptables",
    "runc",
)
"""haproxy stands before webhook processes in every cluster test, buildah and debootstrap make Moorage's own image, chromium
looks at the page; the others are the node's."""


def main() -> int:
    """Say nothing when nothing is missing."""
    if shutil.which("dpkg-query") is None:
        return _failed("this is no Debian; install the same programs by other means", PACKAGES)
    missing = [name for name in PACKAGES if not _is_installed(name)]
    if not missing:
        return 0
    if os.geteuid() != 0:
        return _failed("not root; ask somebody who is", missing)
    settings = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (("update", "-qq"), ("install", "-qq", "--yes", "--no-install-recommends", *missing)):
        # What apt says is not what tests say.
        subprocess.run(["apt-get", *words], env=settings, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=True)
    return 0


def _is_installed(name: str) -> bool:
    asked = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", name]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout == "installed"


def _failed(why: str, names: tuple[str, ...] | list[str]) -> int:
    sys.stderr.write(f"packages: {why}: {', '.join(names)}\n")
    return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as failed:
        sys.exit(f"packages: {' '.join(failed.cmd)} ended with {failed.returncode}")
