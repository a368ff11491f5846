"""Sensors of other packages, installed for real: they are found, run, and can break nothing but themselves."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.aio import async_test, until
from tests.sites import by_hand, new_site, noise
from tiercut.errors import SensorError, SettingsError
from tiercut.model.bundle import Bundle
from tiercut.protocol.stream_settings import SourceSettings, StreamSettings
from tiercut.sensing.sensor_format import Captured, Spoiled
from tiercut.sensors import check_source, form_of, known, open_sensor, plugins

ROOT = Path(__file__).parent.parent
TEMPLATE = ROOT / "examples" / "sensor_plugin"

Install = Callable[..., SourceSettings]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Plugins are looked for once per process."""
    plugins._found.cache_clear()
    yield
    plugins._found.cache_clear()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a module as pip does, with its class ``Plugin`` as the sensor of its name."""
    before = set(sys.modules)

    def install(name: str, code: str, *options: str) -> SourceSettings:
        (tmp_path / f"{name}.py").write_text(HEAD + textwrap.dedent(code), encoding="utf-8")
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[tiercut.sensors]\n{name} = {name}:Plugin\n", encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        plugins._found.cache_clear()
        return SourceSettings(sensor=name, options=options)

    yield install
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


HEAD = """
import numpy as np
from tiercut.sensors import Captured, Channel, SensorForm, Spoiled

class Base:
    form = SensorForm(kind="image")
    def __init__(self, options, source):
        self.options = options
    def close(self):
        pass
"""

GOOD = """
class Plugin(Base):
    def __iter__(self):
        yield Captured(np.full((4, 4, 3), int(self.options["value"]), np.uint8), "here")
        yield Spoiled("blinded", "too much light; close the curtain")
"""


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the template."""
    folder = tmp_path_factory.mktemp("template")
    copy = shutil.copytree(TEMPLATE, folder / "source", ignore=shutil.ignore_patterns("build", "*.egg-info"))
    flags = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *flags, "--target", str(folder / "site"), str(copy)]
    subprocess.run(command, check=True, timeout=100)
    return folder / "site"


def test_template_is_found_and_gives_its_readings(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(template)
    (tmp_path / "temp").write_text("51000", encoding="ascii")
    source = SourceSettings(sensor="cpu-temperature", options=(f"file={tmp_path / 'temp'}",))
    assert known()["cpu-temperature"] == "tiercut-cpu-temperature 0.1.0: cpu_temperature:CpuTemperature"
    assert form_of(source).channels[0].unit == "degC"
    item = next(iter(open_sensor(source)))
    assert isinstance(item, Captured)
    assert item.frame.tolist() == [[51.0]]


def test_templates_own_tests_pass(template: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{template}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={TEMPLATE}", str(TEMPLATE)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 0, ran.stdout
    assert "3 passed" in ran.stdout


def test_plugin_gives_frames_and_reasons(install: Install) -> None:
    captured, spoiled = open_sensor(install("bright", GOOD, "value=7"))
    assert isinstance(captured, Captured)
    assert (captured.frame[0, 0, 0], captured.label) == (7, "here")
    assert spoiled == Spoiled("blinded", "too much light; close the curtain")


@async_test
async def test_plugin_is_a_streams_sensor(bundles: Path, chain: Bundle, install: Install) -> None:
    source = install("bright", GOOD.replace("yield Spoiled", "while True: yield Spoiled"), "value=7")
    stream = StreamSettings(name="cam", model="chain", sensor="bright", options=source.options, frames=3)
    site = new_site(bundles)
    device = site.device(stream)
    async with site.running(site.hub(by_hand(chain)), site.cloud(), site.edge(), device) as outcomes:
        await outcomes.until(results=1)
        await until(lambda: device.counters["dropped.blinded"] == 2)
    assert outcomes.results[0]["label"] == "here"


@async_test
async def test_plugin_that_breaks_ends_no_other_stream(bundles: Path, chain: Bundle, install: Install) -> None:
    install("broken", "import sys\nclass Plugin(Base):\n    def __iter__(self):\n        sys.exit(1)\n")
    site = new_site(bundles)
    device = site.device(StreamSettings(name="door", model="chain", sensor="broken"), noise(chain))
    hub = site.hub(by_hand(chain), by_hand(chain, "door"))
    async with site.running(hub, site.cloud(), site.edge(), device) as outcomes:
        await outcomes.until(results=10)
    assert device.counters["sensors_failed"] == 1


BROKEN = {
    "to be imported": "import nothing_of_that_name\n",
    "missing class": "class Other: pass\n",
    "to open": "class Plugin(Base):\n    def __init__(self, options, source): options['port']\n",
    "to say its form": "class Plugin(Base):\n    form = property(lambda self: 1 / 0)\n    def __iter__(self): yield\n",
    "to read on": "class Plugin(Base):\n    def __iter__(self): raise RuntimeError('cable')\n",
    "a SensorForm": "class Plugin(Base):\n    form = 'image'\n    def __iter__(self): yield\n",
}


@pytest.mark.parametrize("says", BROKEN)
def test_plugin_that_fails_is_named(install: Install, says: str) -> None:
    source = install("faulty", BROKEN[says])
    with pytest.raises(SensorError, match="'faulty'") as error:
        list(open_sensor(source))
    assert says in str(error.value) or says == "missing class"


@pytest.mark.parametrize(
    ("kind", "frame", "says"),
    [
        ("image", "[[1, 2], [3, 4]]", "int64[2, 2]"),
        ("image", "np.zeros((2, 2, 2, 2), np.uint8)", "uint8[2, 2, 2, 2]"),
        ("signal", "np.zeros((5, 2))", "numbers of shape (samples, 1)"),
        ("signal", "np.array(['a'])", "numbers of shape (samples, 1)"),
        ("signal", "[[1], [2, 3]]", "ValueError"),
        ("none", "np.zeros((5, 2))", "gave ndarray, expected Captured or Spoiled"),
    ],
)
def test_frame_of_another_form_than_the_plugin_says_is_spoiled(
    install: Install, kind: str, frame: str, says: str
) -> None:
    form = 'SensorForm(kind="image")' if kind != "signal" else 'SensorForm(kind="signal", channels=(Channel("v"),))'
    item = frame if kind == "none" else f"Captured({frame})"
    source = install("odd", f"class Plugin(Base):\n    form = {form}\n    def __iter__(self):\n        yield {item}\n")
    found = list(open_sensor(source))
    assert [each.reason for each in found if isinstance(each, Spoiled)] == ["bad_frame"]
    assert says in found[0].message  # type: ignore[union-attr]


def test_numbers_become_samples_of_the_one_channel(install: Install) -> None:
    code = """
    class Plugin(Base):
        form = SensorForm(kind="signal", channels=(Channel("v"),))
        def __iter__(self):
            yield Captured([1, 2])
    """
    item = next(iter(open_sensor(install("plain", code))))
    assert isinstance(item, Captured)
    assert (item.frame.tolist(), item.frame.dtype.name) == ([[1.0], [2.0]], "float32")


def test_closed_plugin_ends_however_it_ends(install: Install) -> None:
    code = """
    class Plugin(Base):
        def __iter__(self):
            yield Spoiled("a", "b")
            raise OSError("port closed")
    """
    sensor = open_sensor(install("port", code))
    frames = iter(sensor)
    next(frames)
    sensor.close()
    assert not list(frames)


def test_unknown_sensor_is_refused_with_those_that_are_known(install: Install) -> None:
    install("bright", GOOD)
    with pytest.raises(SettingsError, match=r"'brigth': expected one of bright, camera,.* mqtt, .*video"):
        check_source(SourceSettings(sensor="brigth"))


def test_our_own_sensor_wins_over_a_plugin_of_its_name(install: Install) -> None:
    item = next(iter(open_sensor(install("noise", GOOD, "value=7"))))
    assert isinstance(item, Captured)
    assert item.label == "noise"


def test_example_needs_nothing_of_tiercut_but_its_sensors() -> None:
    for file in TEMPLATE.glob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
        assert {module for module in modules if module.startswith("tiercut")} == {"tiercut.sensors"}
