"""This machine's containerd, as its own client sees it."""

import subprocess


def ctr(*words: str, given: bytes = b"") -> str:
    """What the client prints; `given` is its standard input."""
    command = ("ctr", "--namespace", "k8s.io", *words)
    return subprocess.run(command, input=given, check=True, stdout=subprocess.PIPE, timeout=60).stdout.decode()


def end_container(identity: str, signal: str) -> None:
    """Send a signal to a container's process, past the kubelet. `identity` is the containerID of a Pod's status."""
    ctr("tasks", "kill", "--signal", signal, identity.removeprefix("containerd://"))
