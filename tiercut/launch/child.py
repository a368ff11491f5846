"""The process of a program that `launch.processes` started: it ends when its parent does, however that happens."""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import sys
import threading
import time

#: How long a program has to stop; somewhat more than `tiercut.launch.processes` gives it.
STOP_S = 6.0


def _end_with_parent() -> None:
    """Standard input is a pipe that only the parent holds."""
    with contextlib.suppress(OSError):
        while os.read(0, 1):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_S)
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Run the program named by the first argument as ``python -m`` would, with the arguments after it."""
    threading.Thread(target=_end_with_parent, name="parent-watch", daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
