"""Files that a configuration or an option names: read whole, and never more than can be meant."""

import errno
import os
from pathlib import Path
from typing import Final

MOST: Final = 32 * 1024 * 1024
"""Bytes. A name may lead to a disk image, or to a device without an end."""


def content(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        OSError: it cannot be read, or has more than MOST bytes.
    """
    with path.open("rb") as stream:
        read = stream.read(MOST + 1)
    if len(read) > MOST:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return read
