"""`python -m tests.fuzz --seconds 600 [TARGET…]`: tries all targets, each for its part of the time, and keeps what failed."""

import argparse
import random
import sys
import traceback
from time import monotonic

from tests.fuzz.targets import TARGETS
from tests.fuzz.trying import campaign, keep


def main(words: list[str]) -> int:
    """The count of targets that failed, as an exit code of 0 or 1."""
    reader = argparse.ArgumentParser(prog="python -m tests.fuzz")
    reader.add_argument("--seconds", type=float, default=600.0)
    reader.add_argument("--seed", type=int, default=random.randrange(10**9))
    reader.add_argument("names", nargs="*", choices=[[], *(one.name for one in TARGETS)])
    asked = reader.parse_args(words)
    targets = [one for one in TARGETS if one.name in asked.names or not asked.names]
    print(f"fuzz: {len(targets)} targets, {asked.seconds:.0f} s, seed {asked.seed}")
    end, failures = monotonic() + asked.seconds, 0
    for number, target in enumerate(targets):
        outcome = campaign(target, (end - monotonic()) / (len(targets) - number), asked.seed)
        told = f"fuzz: {target.name:<14} {outcome.count:>9,} inputs"
        if outcome.failed is None:
            print(told, flush=True)
            continue
        failures += 1
        print(f"{told}, and one failed, now {keep(target, outcome.failed)}: {outcome.failed[:200]!r}", flush=True)
        if outcome.error is not None:
            traceback.print_exception(outcome.error, limit=-12, chain=False)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
