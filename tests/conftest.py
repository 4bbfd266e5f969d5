"""Settings of all tests."""

from __future__ import annotations

import os

# As the command line does: threads that sleep while they wait, so that tests do not stall on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
