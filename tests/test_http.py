"""The hub's server: who may ask what, and that bad requests get a sentence."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import shutil
import socket
import ssl
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
from yarl import URL

import broker.http.server
import broker.http.streams
from broker.http.server import HubServer
from broker.node import Hub
from broker.settings import Settings
from tests.aio import async_test
from tests.serving import Asker, Certificates, Registry, served
from tiercut.errors import SettingsError
from tiercut.repository.store import ModelStore
from tiercut.security.identity_list import LIST_FILE, IdentityName, Role

CAM = {"model": "chain", "topic": "cam/jpeg"}


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "certs")


# ---------------------------------------------------------------------- who


@async_test
async def test_client_without_a_certificate_gets_no_answer(bundles: Path, certificates: Certificates) -> None:
    async with served(bundles, certificates) as hub:
        with pytest.raises(aiohttp.ClientError):
            await hub.ask("GET", "/v1/health", tls=certificates.trusting())


@async_test
async def test_certificate_of_another_authority_gets_no_answer(
    bundles: Path, certificates: Certificates, tmp_path: Path
) -> None:
    stranger = Certificates(tmp_path / "others").identity(IdentityName("home", "operator", "eve"))
    tls = certificates.trusting()
    tls.load_cert_chain(stranger.cert_file, stranger.key_file)
    async with served(bundles, certificates) as hub:
        with pytest.raises(aiohttp.ClientError):
            await hub.ask("GET", "/v1/health", tls=tls)


@pytest.mark.parametrize(
    ("role", "site", "allowed"),
    [
        ("device", "home", {"health", "models"}),
        ("edge", "home", {"health", "models"}),
        ("cloud", "cloud", {"models"}),
        ("edge", "dc", set()),
        ("operator", "dc", set()),
        ("operator", "home", {"health", "models", "list", "show", "put", "delete"}),
        ("reader", "home", {"health", "list", "show"}),
        ("sensor", "home", set()),
        ("bus", "home", set()),
    ],
)
def test_each_role_may_ask_only_what_is_its_own(
    bundles: Path, certificates: Certificates, role: Role, site: str, allowed: set[str]
) -> None:
    requests: dict[str, tuple[str, str, dict[str, Any]]] = {
        "health": ("GET", "/v1/health", {}),
        "models": ("GET", "/v1/models", {}),
        "list": ("GET", "/v1/streams", {}),
        "put": ("PUT", "/v1/streams/cam", {"json": CAM}),
        "show": ("GET", "/v1/streams/cam", {}),
        "delete": ("DELETE", "/v1/streams/cam", {}),
    }

    @async_test
    async def asked() -> None:
        operator, tls = certificates.of("operator"), certificates.of(role, site=site)
        async with served(bundles, certificates) as hub:
            for name, (method, path, more) in requests.items():
                await hub.ask("PUT", "/v1/streams/cam", tls=operator, json=CAM)
                status, said, _ = await hub.ask(method, path, tls=tls, **more)
                assert status == (200 if name in allowed else 403), name
                assert name in allowed or f"{site}/{role}/x" in said["error"]

    asked()


@async_test
async def test_who_was_removed_is_shut_out_at_once(bundles: Path, certificates: Certificates) -> None:
    hub = certificates.identity()
    settings = Settings(node="hub", site="home", listen="https://localhost:0", bundles=bundles, identity=hub.folder)
    operator, cloud = certificates.of("operator"), certificates.of("cloud", site="cloud")
    server = Hub(settings, open_bus=_no_bus)._server(cast("Any", Registry()))
    assert server is not None
    async with server:
        asker = Asker(server.url, Registry(), server)
        assert (await asker.ask("PUT", "/v1/streams/cam", tls=operator, json=CAM))[0] == 201
        certificates.remove(IdentityName("home", "operator", "x"))
        for method, path in (("GET", "/v1/models"), ("DELETE", "/v1/streams/cam"), ("GET", "/v1/health")):
            status, said, _ = await asker.ask(method, path, tls=operator)
            assert (status, "'home/operator/x', which was removed" in said["error"]) == (403, True)
        (hub.folder / LIST_FILE).write_bytes(b"half")  # the last good list stays
        assert (await asker.ask("GET", "/v1/models", tls=cloud))[0] == 200
        assert (await asker.ask("GET", "/v1/models", tls=operator))[0] == 403


def _no_bus(*_: Any, **__: Any) -> Any:
    pytest.fail("no bus is needed")


@async_test
async def test_renewed_certificate_is_used_without_a_restart(bundles: Path, certificates: Certificates) -> None:
    tls = certificates.of("operator")
    async with served(bundles, certificates) as hub:
        before = await _certificate_of(hub.url, tls)
        certificates._pki.renew(IdentityName("home", "hub", "hub"))
        assert await _certificate_of(hub.url, tls) != before


async def _certificate_of(url: str, tls: ssl.SSLContext) -> bytes:
    _, writer = await asyncio.open_connection("localhost", int(url.rpartition(":")[2]), ssl=tls)
    certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return bytes(certificate)


@pytest.mark.parametrize(
    ("listen", "words"),
    [
        ("http://0.0.0.0:8080", "plain http on '0.0.0.0', which others can reach"),
        ("https://0.0.0.0:8443", "expected a certificate of the hub"),
        ("https://", "https://HOST:PORT"),
        ("ftp://127.0.0.1", "https://HOST:PORT"),
        ("http://127.0.0.1:many", "https://HOST:PORT"),
        ("http://127.0.0.1/v1", "https://HOST:PORT"),
    ],
)
def test_wrong_address_to_listen_on_is_refused(bundles: Path, listen: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        HubServer(listen, site="home", models=ModelStore(bundles), streams=Registry())


def test_server_that_asks_its_clients_for_no_certificate_is_refused(bundles: Path) -> None:
    open_to_all = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.raises(SettingsError, match="asks its clients for no certificate"):
        HubServer("https://0.0.0.0", site="home", models=ModelStore(bundles), streams=Registry(), tls=open_to_all)


@async_test
async def test_taken_port_is_said(bundles: Path) -> None:
    async with served(bundles) as hub:
        second = HubServer(hub.url, site="home", models=ModelStore(bundles), streams=Registry())
        with pytest.raises(SettingsError, match="in use"):
            await second.__aenter__()


@async_test
async def test_without_tls_another_name_for_this_machine_is_refused(bundles: Path) -> None:
    async with served(bundles) as hub:
        status, said, _ = await hub.ask("GET", "/v1/streams", headers={"Host": "evil.example:8080"})
        assert (status, "evil.example" in said["error"]) == (403, True)


# ---------------------------------------------------------------------- streams


@async_test
async def test_stream_is_added_shown_replaced_and_removed(bundles: Path) -> None:
    async with served(bundles) as hub:
        assert (await hub.ask("PUT", "/v1/streams/cam", json=CAM))[0] == 201
        assert (await hub.ask("PUT", "/v1/streams/cam", json={**CAM, "name": "cam", "fps": 5}))[0] == 200
        assert (await hub.ask("GET", "/v1/streams/cam"))[1] == {"name": "cam", **CAM, "fps": 5}
        assert [each["name"] for each in json.loads((await hub.ask("GET", "/v1/streams"))[2])] == ["cam"]
        assert (await hub.ask("DELETE", "/v1/streams/cam"))[:2] == (200, {"removed": "cam"})
        assert (await hub.ask("DELETE", "/v1/streams/cam"))[0] == 404


@async_test
async def test_stream_that_is_there_is_not_replaced_when_asked_not_to(bundles: Path) -> None:
    async with served(bundles) as hub:
        await hub.ask("PUT", "/v1/streams/cam", json=CAM)
        status, said, _ = await hub.ask(
            "PUT", "/v1/streams/cam", json={**CAM, "fps": 1}, headers={"If-None-Match": "*"}
        )
        assert (status, "there already" in said["error"]) == (412, True)
        assert "fps" not in (await hub.ask("GET", "/v1/streams/cam"))[1]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("GET", "/v1/streams/none", b"", 404, "no stream 'none'"),
        ("GET", "/v1/streams/%23", b"", 400, "bad name of a stream"),
        ("PUT", "/v1/streams/a+b", b"{}", 400, "bad name of a stream"),
        ("PUT", "/v1/streams/a%2Fb", b"{}", 400, "bad name of a stream"),
        ("DELETE", "/v1/streams/%2B", b"", 400, "bad name of a stream"),
        ("PUT", "/v1/streams/a%0Ab", b"{}", 400, "bad name of a stream"),
        ("PUT", "/v1/streams/cam", b"?", 400, "expected JSON"),
        ("PUT", "/v1/streams/cam", b"[" * 9000, 400, "expected JSON"),
        ("PUT", "/v1/streams/cam", b"[]", 400, "expected a JSON object"),
        ("PUT", "/v1/streams/cam", b'{"name": "door", "model": "chain"}', 400, "expected the name 'cam'"),
        ("PUT", "/v1/streams/cam", b"{}", 400, "the setting 'model' of the stream 'cam' is missing"),
        ("PUT", "/v1/streams/cam", b'{"model": "chain", "fsp": 1}', 400, "unknown setting 'fsp'"),
        ("PUT", "/v1/streams/cam", b'{"model": "chain", "fps": 0}', 400, "bad setting fps of stream 'cam'"),
        ("PUT", "/v1/streams/cam", b'{"model": "chain", "fps": NaN}', 400, "'fps' in the stream 'cam'"),
        ("PUT", "/v1/streams/cam", b'{"model": "absent"}', 400, "no such model"),
        ("PUT", "/v1/streams/cam", b" " * 20_000, 413, "too large"),
        ("PUT", "/v1/streams/cam", b'{"model": "broken"}', 500, "its log says why"),
        ("POST", "/v1/streams/cam", b"{}", 405, "method not allowed"),
        ("GET", "/v1/", b"", 404, "expected /v1/models"),
    ],
)
def test_bad_request_gets_a_sentence(  # noqa: PLR0917 - pytest gives them by name
    bundles: Path, method: str, path: str, body: bytes, status: int, words: str
) -> None:
    @async_test
    async def asked() -> None:
        async with served(bundles) as hub:
            url = URL(hub.url + path, encoded=True)
            async with aiohttp.ClientSession() as session, session.request(method, url, data=body) as answer:
                text = await answer.text()
                assert (answer.status, words in json.loads(text)["error"]) == (status, True), text
                assert "secret" not in text
            assert not hub.registry.streams

    asked()


@async_test
async def test_endless_body_is_cut_off(bundles: Path) -> None:
    async def endless() -> Any:
        for _ in range(1000):
            yield b" " * 1000

    async with served(bundles) as hub:
        assert (await hub.ask("PUT", "/v1/streams/cam", data=endless()))[0] == 413


@async_test
async def test_body_that_does_not_come_is_waited_for_only_so_long(
    bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker.http.streams, "BODY_S", 0.1)
    monkeypatch.setattr(broker.http.server, "LINGER_S", 0.1)
    async with served(bundles) as hub:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(hub.url.rpartition(":")[2]))
        writer.write(b"PUT /v1/streams/cam HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
        assert b" 408 " in await reader.readline()
        await reader.read()  # until it is closed
        writer.close()


@async_test
async def test_connection_that_asks_nothing_is_closed(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker.http.server, "HEAD_S", 0.1)
    async with served(bundles) as hub:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(hub.url.rpartition(":")[2]))
        writer.write(b"GET /v1/health HTTP/1.1\r\n")
        assert await reader.read() == b""
        writer.close()


@async_test
async def test_too_many_connections_leave_the_first_ones_alone(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker.http.server, "MAX_CONNECTIONS", 1)
    async with served(bundles) as hub:
        port = int(hub.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 200 " in await reader.readline()
        second, second_writer = await asyncio.open_connection("127.0.0.1", port)
        assert await second.read() == b""
        writer.close()
        second_writer.close()


# ---------------------------------------------------------------------- models


@async_test
async def test_every_file_of_every_model_is_offered(bundles: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with served(bundles) as hub:
        models = json.loads((await hub.ask("GET", "/v1/models"))[2])
        assert [each["name"] for each in models] == ["chain", "residual"]
        for each in models:
            assert {"bundle.json", "model.onnx", "model.data"} <= {file["path"] for file in each["files"]}
            for file in each["files"]:
                _, _, body = await hub.ask("GET", f"/v1/models/{each['model']}/{file['path']}")
                assert (len(body), hashlib.sha256(body).hexdigest()) == (file["bytes"], file["sha256"])
    assert [each.message for each in caplog.records if each.levelno > logging.INFO] == []


@async_test
async def test_nothing_else_is_offered(bundles: Path, tmp_path: Path) -> None:
    shutil.copytree(bundles, tmp_path / "bundles")
    (tmp_path / "bundles" / "secret").write_text("mine")
    (tmp_path / "bundles" / "chain" / "secret").write_text("mine")
    async with served(tmp_path / "bundles") as hub:
        model = json.loads((await hub.ask("GET", "/v1/models"))[2])[0]["model"]
        for path in ("secret", "../secret", "%2e%2e/secret", "..%2Fsecret", "%2Fetc%2Fpasswd", "bundle.json%00", "."):
            port = int(hub.url.rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET /v1/models/{model}/{path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            answer = await reader.read()
            assert b" 404 " in answer.splitlines()[0], path
            assert b"mine" not in answer
            writer.close()


@async_test
async def test_model_that_comes_goes_or_changes_while_running_is_noticed(bundles: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundles"
    shutil.copytree(bundles / "chain", folder / "one")
    async with served(folder) as hub:
        chain = json.loads((await hub.ask("GET", "/v1/models"))[2])[0]["model"]
        shutil.rmtree(folder / "one")
        shutil.copytree(bundles / "residual", folder / "one")
        (residual,) = json.loads((await hub.ask("GET", "/v1/models"))[2])
        assert residual["name"] == "residual"
        assert (await hub.ask("GET", f"/v1/models/{chain}/model.onnx"))[0] == 404
        shutil.rmtree(folder / "one")
        assert json.loads((await hub.ask("GET", "/v1/models"))[2]) == []


@async_test
async def test_client_that_reads_nothing_is_cut_off(bundles: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("broker.http.models.MIN_TIME_S", 0.2)
    monkeypatch.setattr("broker.http.models.MIN_RATE", 1e12)
    shutil.copytree(bundles / "chain", tmp_path / "bundles" / "chain")
    async with served(tmp_path / "bundles") as hub:
        model = json.loads((await hub.ask("GET", "/v1/models"))[2])[0]["model"]
        with (tmp_path / "bundles" / "chain" / "model.data").open("ab") as file:
            file.truncate(64_000_000)  # more than buffers hold
        slow = socket.create_connection(("127.0.0.1", int(hub.url.rpartition(":")[2])))
        slow.sendall(f"GET /v1/models/{model}/model.data HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await asyncio.sleep(0.5)
        with slow:
            assert await asyncio.to_thread(_read_all, slow) < 64_000_000


def _read_all(connection: socket.socket) -> int:
    total = 0
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(1 << 20):
            total += len(data)
    return total
