"""Where PostgreSQL can be started: not as root on a system that grants no user namespace."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_UNSHARE = "import os; os.unshare(os.CLONE_NEWUSER)"


def can_start() -> bool:
    """Whether this system lets this user run PostgreSQL."""
    if os.geteuid() != 0:
        return True
    return subprocess.run([sys.executable, "-c", _UNSHARE], capture_output=True, check=False).returncode == 0


needs_postgresql = pytest.mark.skipif(
    not can_start(), reason="PostgreSQL does not run as root, and this system grants no user namespace"
)
