"""Named points at which a test can kill the process, to prove that nothing is lost there.

`SKATE_FAULT=NAME` kills the process with SIGKILL when it reaches the point NAME; `NAME#3` when it gets there the third
time. Without the variable a point costs one dictionary look-up. Names: `docs/design.md`, "Commit protocol".
"""

import os
import signal
from collections import Counter

_passed: Counter[str] = Counter()


def fault_point(name: str) -> None:
    """Die here, at once and without clean-up, when `SKATE_FAULT` asks for it."""
    wanted = os.environ.get("SKATE_FAULT")
    if wanted is None:
        return
    target, _, count = wanted.partition("#")
    if target == name:
        _passed[name] += 1
        if _passed[name] >= int(count or 1):
            os.kill(os.getpid(), signal.SIGKILL)
