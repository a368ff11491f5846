"""Pictures from a real HTTP server: good ones, bad ones, slow ones, and servers that want a password."""

from __future__ import annotations

import base64
import hashlib
import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from PIL import Image

import tiercut.sensors.fetch
from tiercut.clock import ManualClock
from tiercut.errors import SettingsError
from tiercut.launch.processes import free_port
from tiercut.protocol.stream_settings import SourceSettings, StreamSettings
from tiercut.sensing.sensor_format import Captured, Spoiled
from tiercut.sensors import check_source, open_sensor
from tiercut.sensors.base import Timing
from tiercut.sensors.fetch import Fetch


def jpeg(value: int = 128) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 24), (value, value, value)).save(file, "JPEG")
    return file.getvalue()


def endless(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
    with suppress(OSError):  # the other side has had enough
        while True:
            request.wfile.write(bytes(1024 * 1024))


HALF = b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nx"


class Camera:
    """A server whose answers a test gives; it keeps the headers of what was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.answer: Callable[[BaseHTTPRequestHandler], None] = lambda request: reply(request, jpeg())
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                camera.asked.append(dict(self.headers))
                camera.answer(self)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"
        self.url = f"http://{self.address}/door.jpg"


def reply(request: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


@pytest.fixture
def camera() -> Iterator[Camera]:
    camera = Camera()
    thread = threading.Thread(target=camera.server.serve_forever, args=(0.01,))
    thread.start()
    yield camera
    camera.server.shutdown()
    thread.join()
    camera.server.server_close()


def items(url: str, count: int, **more: Any) -> list[Captured | Spoiled]:
    """What the sensor gives first, on a clock that only sleeping moves."""
    clock = ManualClock()
    sensor = iter(open_sensor(SourceSettings(sensor="snapshot", url=url, **more), timing=Timing(clock, clock.advance)))
    return [next(sensor) for _ in range(count)]


def spoiled(url: str) -> Spoiled:
    item = items(url, 1)[0]
    assert isinstance(item, Spoiled)
    return item


def test_each_request_gives_the_picture_of_that_time(camera: Camera) -> None:
    camera.answer = lambda request: reply(request, jpeg(100 + 20 * len(camera.asked)))
    frames = [each.frame for each in items(camera.url, 3) if isinstance(each, Captured)]
    assert [frame.shape for frame in frames] == [(24, 32, 3)] * 3
    assert [round(frame.mean(), -1) for frame in frames] == [120, 140, 160]


def test_it_asks_at_its_rate_and_more_rarely_after_failures(camera: Camera) -> None:
    clock = ManualClock()
    source = SourceSettings(sensor="snapshot", url=camera.url, rate_hz=2.0)
    sensor, at_s = iter(open_sensor(source, timing=Timing(clock, clock.advance))), []
    camera.answer = lambda request: reply(request, jpeg() if len(camera.asked) not in {3, 4, 5} else b"")
    for _ in range(8):
        next(sensor)
        at_s.append(clock.now_s)
    assert at_s == [0, 0.5, 1, 1.5, 2.5, 4.5, 5, 5.5]


def test_stream_with_a_rate_of_its_own_is_asked_whenever_it_wants(camera: Camera) -> None:
    clock = ManualClock()
    source = StreamSettings(name="s", model="m", sensor="snapshot", url=camera.url, fps=10.0)
    sensor = iter(open_sensor(source, timing=Timing(clock, clock.advance)))
    assert all(isinstance(next(sensor), Captured) for _ in range(5))
    assert clock.now_s == 0


@pytest.mark.parametrize(
    ("answer", "reason", "says"),
    [
        (lambda request: reply(request, b"", 404), "http_status", "got 404 Not Found"),
        (
            lambda request: reply(request, b"", 302, Location="http://else/x.jpg?pw=1"),
            "http_status",
            "'http://else/x.jpg'",
        ),
        (lambda request: reply(request, b"<html>log in</html>"), "bad_image", "<html>"),
        (lambda request: reply(request, jpeg()[:200]), "bad_image", "a damaged JPEG"),
        (lambda request: reply(request, b""), "bad_image", "0 bytes"),
        (lambda request: request.wfile.write(b"HTTP/1.0 abc\r\n\r\n"), "no_answer", "see to url"),
        (lambda request: request.wfile.write(HALF), "no_answer", "see to url"),
        (endless, "too_large", "at most 16777216 bytes"),
    ],
)
def test_answer_that_is_no_picture_is_counted_and_the_next_one_is_taken(
    camera: Camera, answer: Callable[[BaseHTTPRequestHandler], None], reason: str, says: str
) -> None:
    camera.answer = lambda request: answer(request) if len(camera.asked) == 1 else reply(request, jpeg())
    bad, good = items(camera.url, 2)
    assert isinstance(bad, Spoiled)
    assert (bad.reason, says in bad.message) == (reason, True), bad.message
    assert isinstance(good, Captured)


def test_camera_that_is_off_is_said() -> None:
    assert spoiled(f"http://127.0.0.1:{free_port()}/x.jpg").reason == "no_answer"


def test_server_that_answers_byte_by_byte_is_given_up(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    def drip(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
        for _ in range(50):
            time.sleep(0.05)
            request.wfile.write(b"x")

    camera.answer = drip
    monkeypatch.setattr(tiercut.sensors.fetch, "Fetch", lambda url: Fetch(url, timeout_s=0.3))
    item = spoiled(camera.url)
    assert (item.reason, "within 0.3 s" in item.message) == ("no_answer", True)


def test_close_ends_a_request_under_way(camera: Camera) -> None:
    never = threading.Event()

    def answer(_: BaseHTTPRequestHandler) -> None:
        never.wait(20)

    camera.answer = answer
    sensor = open_sensor(SourceSettings(sensor="snapshot", url=camera.url))
    threading.Timer(0.3, sensor.close).start()
    start_s = time.monotonic()
    assert not list(sensor)
    assert time.monotonic() - start_s < 5
    never.set()


# ---------------------------------------------------------------------- passwords


def basic(request: BaseHTTPRequestHandler) -> None:
    expected = "Basic " + base64.b64encode(b"me:secret").decode()
    if request.headers.get("Authorization") == expected:
        reply(request, jpeg())
    else:
        reply(request, b"", 401, WWW_Authenticate='Basic realm="cam"')


def digest(request: BaseHTTPRequestHandler) -> None:
    """RFC 7616 with MD5, as cameras have it."""
    given = request.headers.get("Authorization", "")
    fields = {
        name.strip(): value.strip('" ') for name, _, value in (part.partition("=") for part in given[7:].split(","))
    }

    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()  # noqa: S324 - the protocol's

    middle = ":".join(fields.get(name, "") for name in ("nonce", "nc", "cnonce", "qop"))
    if fields.get("response") == md5(f"{md5('me:cam:secret')}:{middle}:{md5('GET:/door.jpg')}"):
        reply(request, jpeg())
    else:
        reply(request, b"", 401, WWW_Authenticate='Digest realm="cam", nonce="abc", qop="auth", algorithm=MD5')


@pytest.mark.parametrize(("ask", "to_begin"), [(basic, 2), (digest, 3)])
def test_password_in_the_address_is_given_as_the_camera_asks_for_it(
    camera: Camera, ask: Callable[[BaseHTTPRequestHandler], None], to_begin: int
) -> None:
    camera.answer = ask
    found = items(f"http://me:secret@{camera.address}/door.jpg", 3)
    assert all(isinstance(each, Captured) for each in found)
    assert len(camera.asked) == to_begin + 2  # afterwards it knows how
    assert "Authorization" not in camera.asked[0]


@pytest.mark.parametrize("ask", [basic, digest])
def test_wrong_password_is_said_without_saying_it(
    camera: Camera, ask: Callable[[BaseHTTPRequestHandler], None]
) -> None:
    camera.answer = ask
    item = spoiled(f"http://me:hunter2@{camera.address}/door.jpg?password=hunter2")
    assert item.reason == "http_status"
    assert "name and password" in item.message
    assert "hunter2" not in item.message


@pytest.mark.parametrize(
    "url", ["ftp://camera/x.jpg", "camera.lan/x.jpg", "http://", "file:///etc/passwd", "http://me:hunter2@:x/"]
)
def test_address_that_is_none_of_http_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="url of http") as refused:
        check_source(SourceSettings(sensor="snapshot", url=url))
    assert "hunter2" not in str(refused.value)
