"""The process of `broker.embedded`: rumqttd until its parent goes away. Run by path, with the configuration's path."""

from __future__ import annotations

import logging
import os
import sys
import threading

import iotcore


def _end_with_parent() -> None:
    """Standard input is a pipe that only the parent holds: it ends when the parent does, however that happens."""
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    """Serve; rumqttd has no way to stop but the end of its process."""
    # rumqttd's spans come as an ERROR record for every packet.
    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
    threading.Thread(target=_end_with_parent, name="parent-watch", daemon=True).start()
    iotcore.Broker(config_path=sys.argv[1]).run_forever()


if __name__ == "__main__":
    main()
