"""Settings of all tests."""

from __future__ import annotations

import os
import signal
import sys
import tempfile

# Threads that sleep while they wait: tests must not stall on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:  # the cores are taken by the other workers
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# Rewriting all assertions takes each worker nine seconds: what is compiled is kept, also by processes of tests.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Programs in the background may be started without Ctrl-C, and hand that on: the commands of tests are to have it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# What tests prove and compile stays theirs; workers share it.
os.environ["INVREG_CACHE"] = os.environ["TESTS_CACHE"] = os.environ.get("TESTS_CACHE") or tempfile.mkdtemp(
    prefix="invreg-tests-"
)
