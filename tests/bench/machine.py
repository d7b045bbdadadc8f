"""What a figure was measured on."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

from tests.parts import golang


def described() -> str:
    """One paragraph: processor, system, versions."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    go = golang.version_of(Path(os.environ.get("GO", "go")))
    versions = ", ".join(f"{name} {version(name)}" for name in ("uvicorn", "httptools", "uvloop", "msgspec", "aiohttp"))
    return (
        f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, {versions}, "
        f"Go {f'{go[0]}.{go[1]}' if go else '(prebuilt floor)'}, {_wrk()}. The server has one core, the load the other."
    )


def _wrk() -> str:
    if shutil.which("wrk") is None:
        return "no wrk"
    told = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout
    return " ".join(told.split()[:2])
