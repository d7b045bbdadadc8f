"""No memory of a server that dies is written to a disk: it holds logins, tokens and keys."""

import resource


def leave_none() -> None:
    """Let the kernel write no core dump of this process. Whoever runs it can allow it again (`prlimit --core`), and
    debuggers may still look into it: only what happens without anybody's doing is ruled out."""
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))
