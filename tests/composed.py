"""A site in containers, for tests: compose.yaml under a project name and on ports of its own."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.brokers import program
from tiercut.launch.processes import free_port

ROOT = Path(__file__).parent.parent
COMPOSE = shlex.split(os.environ.get("TIERCUT_COMPOSE", "docker compose"))
ENGINE = os.environ.get("TIERCUT_ENGINE", "docker" if COMPOSE[0] == "docker" else "podman")
#: With these the site's links may be slowed.
SLOWED = ("-f", "compose.yaml", "-f", "compose.links.yaml")
#: A cold build installs torch, from a local wheel or from the network.
BUILD_S = 420.0
COMMAND_S = 120.0


def why_not() -> str | None:
    """Why there can be no containers here, in a sentence; ``None`` when there can."""
    try:
        asked = subprocess.run([ENGINE, "info"], capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        return f"no container engine here: no program '{ENGINE}'"
    return None if asked.returncode == 0 else f"no container engine here: {asked.stderr.strip()[-200:]}"


class Composed:
    """The site of compose.yaml; all of it is gone on exit, volumes too.

    Args:
        folder: Where identities for use outside of containers are put.
        variables: Of compose.yaml.
    """

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        self.project = f"tiercut-test-{os.getpid()}"
        self.bus_port = free_port()
        ports = {"TIERCUT_BUS_PORT": str(self.bus_port), "TIERCUT_HUB_PORT": str(free_port())}
        self._environment = os.environ | ports | variables
        #: seconds of `up`
        self.up_s = 0.0
        #: when `up` began
        self.began_s = 0.0

    def __enter__(self) -> Self:
        # What the others are made of is built once, before they are built side by side.
        self.compose("build", "hub", timeout_s=BUILD_S)
        self.compose("--profile", "sensors", "build", timeout_s=BUILD_S)
        self.compose(*SLOWED, "build", "camera-1", timeout_s=BUILD_S)
        self.began_s = time.monotonic()
        try:
            self.compose("up", "-d")
        except BaseException:  # Ctrl-C as well: no container is left behind
            self.down()
            raise
        self.up_s = time.monotonic() - self.began_s
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    # ------------------------------------------------------------------ commands

    def compose(self, *words: str, timeout_s: float = COMMAND_S, check: bool = True) -> str:
        """A command of compose; its standard output."""
        return self._run([*COMPOSE, "-p", self.project, *words], timeout_s=timeout_s, check=check)

    def engine(self, *words: str, check: bool = True) -> str:
        """A command of the engine; its standard output."""
        return self._run([ENGINE, *words], timeout_s=COMMAND_S, check=check)

    def tiercut(self, *words: str) -> str:
        """A command as operator of the site."""
        return self.compose("--profile", "tools", "run", "--rm", "-T", "tiercut", *words)

    def _run(self, command: list[str], *, timeout_s: float, check: bool) -> str:
        ended = subprocess.run(
            command, cwd=ROOT, env=self._environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if check and ended.returncode != 0:
            pytest.fail(f"{shlex.join(command)} ended with {ended.returncode}:\n{ended.stdout}\n{ended.stderr[-4000:]}")
        return ended.stdout

    # ------------------------------------------------------------------ what runs

    def containers(self, service: str = "", *, stopped: bool = False) -> list[str]:
        """Ids of a service's containers, or of all."""
        label = "label=com.docker.compose."
        wanted = ["--filter", f"{label}project={self.project}"]
        if service:
            wanted += ["--filter", f"{label}service={service}"]
        return self.engine("ps", "-q", *(["-a"] if stopped else []), *wanted).split()

    def node_in(self, container: str) -> str:
        """Id of the node that runs in a container, once its broker has taken its status."""
        return self.engine("exec", container, "cat", "/tmp/heartbeat", check=False).strip()  # noqa: S108 - the container's

    def edges(self) -> dict[str, str]:
        """Node id → container, of the edges that have reached their broker."""
        found = {self.node_in(container): container for container in self.containers("edge")}
        return {node: container for node, container in found.items() if node}

    def is_well(self, container: str, *, within_s: float) -> bool:
        """Whether its health check says so; it is asked here, as not every engine asks by itself."""
        end_s = time.monotonic() + within_s
        while time.monotonic() < end_s:
            asked = [ENGINE, "exec", container, "python", "-m", "tiercut.heartbeat"]
            if subprocess.run(asked, capture_output=True, timeout=COMMAND_S, check=False).returncode == 0:
                return True
            time.sleep(1)  # a health check has no event
        return False

    def logs(self) -> str:
        """The last lines of all containers, for whoever looks at a failure."""
        said = []
        for container in self.containers(stopped=True):
            name = self.engine("inspect", "--format", "{{.Name}} {{.State.Status}}", container, check=False).strip()
            tail = [ENGINE, "logs", "--tail", "25", container]
            ended = subprocess.run(tail, capture_output=True, text=True, timeout=COMMAND_S, check=False)
            said.append(f"--- {name}\n{ended.stdout}{ended.stderr}")
        return "\n".join(said)

    def down(self) -> None:
        """Remove containers, networks and volumes."""
        left = self.containers(stopped=True)
        if left and ENGINE == "podman":  # podman-compose's `down` forgets those that `--scale` has added
            self.engine("rm", "-f", "-t", "3", *left, check=False)
        self.compose("--profile", "*", "down", "--volumes", "--remove-orphans", check=False)
        volumes = self.engine("volume", "ls", "-q", "--filter", f"label=com.docker.compose.project={self.project}")
        if volumes:
            self.engine("volume", "rm", "-f", *volumes.split(), check=False)

    # ------------------------------------------------------------------ identities outside of containers

    def reader(self) -> Path:
        """The reader's certificate and key, for programs on this machine."""
        return self._copy("reader-identity", self.folder / "reader")

    def sensor(self, name: str) -> Path:
        """A sensor's certificate and key."""
        return self._copy("pki", self.folder / name, f"home/sensor/{name}")

    def _copy(self, volume: str, target: Path, inside: str = ".") -> Path:
        if target.exists():
            return target
        target.mkdir()
        mounts = ["-v", f"{self.project}_{volume}:/from:ro", "-v", f"{target}:/to"]
        copy = ["--entrypoint", "cp", "eclipse-mosquitto:2", "-r", f"/from/{inside}/.", "/to"]
        self.engine("run", "--rm", "--user", "0:0", *mounts, *copy)
        return target

    def client(self, name: str, identity: Path, *words: str) -> list[str]:
        """Command line of ``mosquitto_sub`` or ``mosquitto_pub`` as somebody, from outside."""
        files = {"--cafile": "ca.pem", "--cert": "cert.pem", "--key": "key.pem"}
        tls = [word for flag, file in files.items() for word in (flag, str(identity / file))]
        return [program(name), "-h", "localhost", "-p", str(self.bus_port), *tls, *words]

    def tiercut_here(self, *words: str) -> str:
        """A command as operator, on this machine rather than in a container."""
        operator = self._copy("operator-identity", self.folder / "operator")
        where = ["--broker", f"mqtts://localhost:{self.bus_port}", "--site", "home", "--identity", str(operator)]
        return self._run([sys.executable, "-m", "tiercut", *words, *where], timeout_s=COMMAND_S, check=True)


@dataclass(frozen=True, slots=True)
class Message:
    """What a reader of the site has heard."""

    at_s: float
    stream: str
    kind: str
    document: dict[str, Any]

    @property
    def is_state(self) -> bool:
        return self.kind == "state"

    def is_state_of(self, stream: str) -> bool:
        return (self.kind, self.stream) == ("state", stream)

    def worked_on(self, node: str) -> bool:
        """A node had a part in this result."""
        return node in {stage["where"] for stage in self.document["stages"]} | {self.document["finished_by"]}


def result_of(stream: str) -> Callable[[Message], bool]:
    """Whether a message is a result of a stream."""
    return lambda each: (each.kind, each.stream) == ("result", stream)


class Heard:
    """Results, states of streams and what a site gives, as `mosquitto_sub` prints them on this machine."""

    def __init__(self, site: Composed, reader: Path) -> None:
        self._site = site
        root = "tiercut/v1/home/stream/+"
        words = ["-F", "%t %p", "-t", f"{root}/result", "-t", f"{root}/state", "-t", "tiercut/v1/home/capacity"]
        self._command = site.client("mosquitto_sub", reader, *words)
        self._messages: list[Message] = []
        self._news = threading.Condition()
        self._running: subprocess.Popen[str] | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        if self._running is not None:
            self._running.kill()
        self._thread.join(10)

    def _listen(self) -> None:
        while not self._closed:  # until its broker is there
            with subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            ) as self._running:
                for line in self._running.stdout or ():
                    self._take(line)
            time.sleep(0.2)  # a port that begins to listen has no event

    def _take(self, line: str) -> None:
        topic, _, payload = line.partition(" ")
        if not payload.strip():  # what was retained is taken back
            return
        _, _, _, *stream, kind = topic.split("/")
        with self._news:
            self._messages.append(Message(time.monotonic(), stream[-1] if stream else "", kind, json.loads(payload)))
            self._news.notify_all()

    def until(self, wanted: Callable[[Message], bool], *, within_s: float, after_s: float | None = None) -> Message:
        """The first message that is wanted; a test fails with the site's logs where none comes.

        Args:
            wanted: What is.
            within_s: From now on.
            after_s: It must have come later than this, on this machine's monotonic clock; default: now.
        """
        now_s = time.monotonic()
        after_s = now_s if after_s is None else after_s
        with self._news:
            while (left_s := now_s + within_s - time.monotonic()) > 0:
                found = next((each for each in self._messages if each.at_s >= after_s and wanted(each)), None)
                if found is not None:
                    return found
                self._news.wait(left_s)
        pytest.fail(f"not heard within {within_s:g} s; {len(self._messages)} messages came\n{self._site.logs()}")

    def results_between(self, first_s: float, last_s: float) -> int:
        """How many results came then, of all streams."""
        with self._news:
            return sum(each.kind == "result" and first_s < each.at_s <= last_s for each in self._messages)

    @property
    def first_result_s(self) -> float:
        """When the first result came, on this machine's monotonic clock."""
        return next(each.at_s for each in self._messages if each.kind == "result")

    def reader_of(self, stream: str) -> str:
        """The node that reads a stream's sensor, as its last state says."""
        said = [each.document["device"] for each in self._messages if each.is_state_of(stream)]
        return str(said[-1])
