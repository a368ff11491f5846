"""How models reach a node: over HTTPS, whole, checked, and whatever the hub or the disk does."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import shutil
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.aio import async_test, until
from tests.serving import EDGE, Certificates, served
from tiercut.errors import SettingsError
from tiercut.launch.processes import free_port
from tiercut.model.bundle import Bundle
from tiercut.model.bundle_format import identity
from tiercut.repository import download, fetch
from tiercut.repository.fetch import ModelFetcher
from tiercut.repository.store import ModelStore
from tiercut.security.identity_list import IdentityName


@dataclass
class Node:
    """A node's folder of bundles, and what it hears of new ones."""

    folder: Path
    new: list[Bundle] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.models = ModelStore(self.folder)

    @asynccontextmanager
    async def fetching(self, *urls: str, **more: Any) -> AsyncIterator[None]:
        fetcher = ModelFetcher(urls, self.models, on_new=self.new.append, counters=self.counters, every_s=0.02, **more)
        task = asyncio.create_task(fetcher.keep())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    @property
    def names(self) -> list[str]:
        """What is in the folder, hidden files too."""
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "node")


class LyingHub:
    """Serves two models; ``spoil`` may change the answer with a file of the first one."""

    def __init__(self, bundles: Path) -> None:
        self._folders = {each: Bundle.load(bundles / each).model for each in ("chain", "residual")}
        self._bundles = bundles
        self.listing: Any = [{"name": name, "model": model} for name, model in self._folders.items()]
        self.spoil: Callable[[str, bytes], bytes] = lambda _, data: data
        self.asked: list[tuple[str, str]] = []
        self.breaks_at: dict[str, int] = {}

    @asynccontextmanager
    async def open(self, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        app = web.Application()
        app.add_routes([web.get("/v1/models", self._list), web.get("/v1/models/{model}/{path:.+}", self._file)])
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls)
        await site.start()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{site.port}"
        await runner.cleanup()

    async def _list(self, request: web.Request) -> web.Response:
        del request
        return web.json_response(self.listing)

    async def _file(self, request: web.Request) -> web.StreamResponse:
        model, path = request.match_info["model"], request.match_info["path"]
        name = next(each for each, identity in self._folders.items() if identity == model)
        data = (self._bundles / name / path).read_bytes()
        if name == "chain":
            data = self.spoil(path, data)
        wanted = request.headers.get("Range", "")
        self.asked.append((f"{name}/{path}", wanted))
        start = int(wanted[6:-1]) if wanted else 0
        answer = web.StreamResponse(status=206 if wanted else 200)
        answer.content_length = len(data) - start
        if wanted:
            answer.headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        await answer.prepare(request)
        stop = self.breaks_at.pop(path, None)
        await answer.write(data[start:stop])
        if stop is not None and request.transport is not None:
            await asyncio.sleep(0.05)  # let it arrive
            request.transport.abort()
        return answer


@async_test
async def test_node_gets_what_the_hub_has_over_tls(bundles: Path, tmp_path: Path, node: Node) -> None:
    certificates = Certificates(tmp_path / "certs")
    edge = certificates.identity(EDGE)
    async with served(bundles, certificates) as hub, node.fetching(hub.url, tls=edge.client_context):
        await until(lambda: len(node.new) == 2)
        assert {each.name for each in node.new} == {"chain", "residual"}
        assert node.names == ["chain", "residual"]
        for bundle in node.new:
            original = Bundle.load(bundles / bundle.name)
            assert bundle.model == original.model
            node.models.segment(bundle.model, 0, bundle.end)
    assert node.counters == {"models_fetched": 2}


@async_test
async def test_model_that_the_hub_gets_later_comes_too(bundles: Path, tmp_path: Path, node: Node) -> None:
    shutil.copytree(bundles / "chain", tmp_path / "hub" / "chain")
    async with served(tmp_path / "hub") as hub, node.fetching(hub.url):
        await until(lambda: len(node.new) == 1)
        shutil.copytree(bundles / "residual", tmp_path / "hub" / ".new")
        (tmp_path / "hub" / ".new").rename(tmp_path / "hub" / "residual")
        await until(lambda: len(node.new) == 2)
        shutil.rmtree(tmp_path / "hub" / "chain")
        await asyncio.sleep(0.1)
        assert node.names == ["chain", "residual"]  # what the hub no longer has stays


@async_test
async def test_hub_that_is_not_there_yet_is_asked_again(
    bundles: Path, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    lying, port = LyingHub(bundles), free_port()
    with caplog.at_level(logging.INFO, logger="tiercut.repository.fetch"):
        async with node.fetching(f"http://127.0.0.1:{port}"):
            await until(lambda: bool(caplog.records))
            await asyncio.sleep(0.6)
            assert [each.message for each in caplog.records] == ["no models from the hub, asking on"]  # said once
            async with lying.open(port):
                await until(lambda: len(node.new) == 2)
                await until(lambda: caplog.records[-1].message == "hub gives models again")


@async_test
async def test_hub_that_is_away_does_not_stop_the_others(bundles: Path, node: Node) -> None:
    async with served(bundles) as hub, node.fetching(f"http://127.0.0.1:{free_port()}", hub.url):
        await until(lambda: len(node.new) == 2)


@async_test
async def test_broken_download_goes_on_where_it_was(bundles: Path, node: Node) -> None:
    lying = LyingHub(bundles)
    lying.breaks_at = {"model.data": 1000}
    async with lying.open() as url, node.fetching(url):
        await until(lambda: len(node.new) == 2)
    assert ("chain/model.data", "bytes=1000-") in lying.asked
    assert node.names == ["chain", "residual"]


@async_test
async def test_node_that_was_killed_goes_on_where_it_was(bundles: Path, node: Node) -> None:
    lying = LyingHub(bundles)
    model = lying.listing[0]["model"]
    part = node.folder / f".{model[:16]}.part"
    part.mkdir(parents=True)
    (part / "model.onnx").write_bytes((bundles / "chain" / "model.onnx").read_bytes()[:100])
    async with lying.open() as url, node.fetching(url):
        await until(lambda: len(node.new) == 2)
    assert ("chain/model.onnx", "bytes=100-") in lying.asked
    assert node.names == ["chain", "residual"]


@async_test
async def test_remains_that_are_wrong_are_fetched_again(bundles: Path, node: Node) -> None:
    lying = LyingHub(bundles)
    part = node.folder / f".{lying.listing[0]['model'][:16]}.part"
    part.mkdir(parents=True)
    (part / "model.onnx").write_bytes(b"x" * 100)
    (part / "model.data").write_bytes(b"x" * 10_000_000)
    async with lying.open() as url, node.fetching(url):
        await until(lambda: len(node.new) == 2)
    assert node.counters == {"models_fetched": 2}


def _flip(path: str, data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1]) if path == "model.data" else data


def _json(change: Callable[[dict[str, Any]], object], *, honest: bool) -> Callable[[str, bytes], bytes]:
    def spoil(path: str, data: bytes) -> bytes:
        if path != "bundle.json":
            return data
        document = json.loads(data)
        change(document)
        if honest:
            document["model"] = identity(document)
        return json.dumps(document).encode()

    return spoil


SPOILED: dict[str, Callable[[str, bytes], bytes]] = {
    "a bit": _flip,
    "shorter": lambda path, data: data[:-9] if path == "model.data" else data,
    "longer": lambda path, data: data + b"more" if path == "model.data" else data,
    "no JSON": lambda path, data: b"?" if path == "bundle.json" else data,
    "other JSON": _json(lambda document: document.update(labels=None), honest=False),
    "another model": _json(lambda document: document.update(labels=None), honest=True),
    "a path out": _json(lambda d: d.update(codecs=[{"encoder": "../../x", "decoder": "../../x"}]), honest=True),
    "endless JSON": lambda path, data: b" " * 40_000_000 if path == "bundle.json" else data,
}


@pytest.mark.parametrize("what", SPOILED)
def test_wrong_bytes_are_refused_and_the_other_models_come(
    bundles: Path, node: Node, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(fetch, "REFUSED_WAIT_S", 0.01)

    @async_test
    async def fetched() -> None:
        lying = LyingHub(bundles)
        lying.spoil = SPOILED[what]
        with caplog.at_level(logging.ERROR, logger="tiercut.repository.fetch"):
            async with lying.open() as url, node.fetching(url):
                await until(lambda: len(node.new) == 1 and node.counters["models_refused"] > 1)
                await until(lambda: node.names == ["residual"])  # between two tries
        assert [each.name for each in node.new] == ["residual"]
        assert [each.message for each in caplog.records] == ["model refused"]  # said once
        assert [path.name for path in node.folder.parent.iterdir()] == ["node"]

    fetched()


@async_test
async def test_own_bundle_of_the_same_name_stays_as_it_is(bundles: Path, tmp_path: Path) -> None:
    own = tmp_path / "node" / "chain"
    shutil.copytree(bundles / "residual", own)
    before = {path.name: path.read_bytes() for path in own.iterdir()}
    node = Node(tmp_path / "node")
    async with served(bundles) as hub, node.fetching(hub.url):
        await until(lambda: len(node.new) == 1)
    model = node.new[0].model
    assert node.names == ["chain", f"chain-{model[:12]}"]
    assert {path.name: path.read_bytes() for path in own.iterdir()} == before
    assert set(node.models.names()) == {"chain", "residual"}


@async_test
async def test_two_nodes_with_one_folder_bring_a_model_once(bundles: Path, node: Node) -> None:
    lying, other = LyingHub(bundles), Node(node.folder)
    async with lying.open() as url, node.fetching(url), other.fetching(url):
        await until(lambda: len(node.new) == len(other.new) == 2)
    assert [path for path, _ in lying.asked].count("chain/model.data") == 1
    assert node.names == ["chain", "residual"]


@async_test
async def test_full_disk_is_said(
    bundles: Path, node: Node, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(download, "_sync", full)
    async with served(bundles) as hub, node.fetching(hub.url):
        await until(lambda: node.counters["models_refused"] == 2)
        assert node.names == []
        assert "got a full disk; make room" in str([vars(each) for each in caplog.records])


@async_test
async def test_model_without_room_is_not_begun(
    bundles: Path, node: Node, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "SPARE_BYTES", 10**18)
    lying = LyingHub(bundles)
    async with lying.open() as url, node.fetching(url):
        await until(lambda: node.counters["models_refused"] == 2)
    assert {path for path, _ in lying.asked} == {"chain/bundle.json", "residual/bundle.json"}
    assert "no room for the model 'chain'" in str([vars(each) for each in caplog.records])


@async_test
async def test_folder_that_cannot_be_written_is_said(
    bundles: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    node = Node(tmp_path / "file" / "bundles")
    async with served(bundles) as hub, node.fetching(hub.url):
        await until(lambda: node.counters["models_refused"] == 2)
    assert "set bundles to such a folder" in str([vars(each) for each in caplog.records])


@async_test
async def test_larger_models_than_allowed_are_refused(bundles: Path, node: Node) -> None:
    async with served(bundles) as hub, node.fetching(hub.url, max_model_bytes=1000):
        await until(lambda: node.counters["models_refused"] == 2)
    assert node.names == []


@async_test
async def test_list_that_makes_no_sense_does_no_harm(
    bundles: Path, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "FIRST_WAIT_S", 0.01)
    lying = LyingHub(bundles)
    good = lying.listing
    async with lying.open() as url, node.fetching(url):
        for listing in (3, "x" * 5_000_000, {"models": good}):
            lying.listing = listing
            await asyncio.sleep(0.1)
        lying.listing = [3, {}, {"name": "a", "model": "../x"}, {"name": 4, "model": "0" * 64}, *good]
        await until(lambda: len(node.new) == 2)
    assert node.names == ["chain", "residual"]


@async_test
async def test_hub_that_refuses_the_certificate_is_quoted(
    bundles: Path, tmp_path: Path, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    certificates = Certificates(tmp_path / "certs")
    sensor = certificates.identity(IdentityName("home", "sensor", "x"))
    async with served(bundles, certificates) as hub, node.fetching(hub.url, tls=sensor.client_context):
        await until(lambda: bool(caplog.records))
    assert "got 403" in str(vars(caplog.records[0]))
    assert "'home/sensor/x'" in str(vars(caplog.records[0]))


@async_test
async def test_server_that_is_not_of_the_site_is_asked_for_nothing(
    bundles: Path, tmp_path: Path, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    edge = Certificates(tmp_path / "certs").identity(EDGE)
    others = Certificates(tmp_path / "others")
    async with served(bundles, others) as hub, node.fetching(hub.url, tls=edge.client_context):
        await until(lambda: bool(caplog.records))
        await asyncio.sleep(0.3)
    assert "certificate is not trusted" in str(vars(caplog.records[0]))
    assert not node.new


@pytest.mark.parametrize("posing", ["home/bus/site-bus", "home/hub/hub"])
@async_test
async def test_only_a_hub_is_asked_for_models(
    bundles: Path, tmp_path: Path, node: Node, caplog: pytest.LogCaptureFixture, posing: str
) -> None:
    certificates, lying = Certificates(tmp_path / "certs"), LyingHub(bundles)
    edge, server = certificates.identity(EDGE), certificates.identity(IdentityName.parse(posing))
    async with lying.open(tls=server.server_context()) as url, node.fetching(url, tls=edge.client_context):
        await until(lambda: bool(lying.asked or caplog.records))
    if "hub" in posing:
        assert lying.asked
    else:
        assert not lying.asked
        assert "expected one of '+/hub/+', got 'home/bus/site-bus'" in str(vars(caplog.records[0]))


@async_test
async def test_what_was_begun_long_ago_is_deleted(bundles: Path, node: Node) -> None:
    old, young = node.folder / ".0123456789abcdef.part", node.folder / ".fedcba9876543210.part"
    for each in (old, young):
        each.mkdir(parents=True)
        (each / "model.data").write_bytes(b"half")
    for path in (old, old / "model.data"):
        os.utime(path, (0, 0))
    async with served(bundles) as hub, node.fetching(hub.url):
        await until(lambda: len(node.new) == 2)
    assert not old.exists()
    assert young.exists()


@pytest.mark.parametrize(
    "url", ["hub:8443", "http://hub:8443", "ftp://hub", "https://", "https://hub/models", "https://hub:x"]
)
def test_wrong_address_of_a_hub_is_refused(node: Node, url: str) -> None:
    with pytest.raises(SettingsError, match="bad setting hub_url"):
        ModelFetcher([url], node.models, on_new=node.new.append)


# ---------------------------------------------------------------------- the store


def test_of_two_versions_the_one_written_last_has_the_name(bundles: Path, tmp_path: Path) -> None:
    shutil.copytree(bundles / "chain", tmp_path / "new")
    old = tmp_path / "a"
    shutil.copytree(bundles / "chain", old)
    document = json.loads((old / "bundle.json").read_text())
    document["labels"] = ["other", "names", "of", "classes"]
    document["model"] = identity(document)
    (old / "bundle.json").write_text(json.dumps(document))
    os.utime(old / "bundle.json", (1e9, 1e9))
    models, new = ModelStore(tmp_path), Bundle.load(bundles / "chain").model
    assert models.names() == {"chain": new, f"chain-{document['model'][:12]}": document["model"]}
    assert models.named("chain").model == new


def test_bundle_that_was_replaced_is_no_longer_named_but_found(bundles: Path, tmp_path: Path) -> None:
    shutil.copytree(bundles / "chain", tmp_path / "one")
    models = ModelStore(tmp_path)
    chain = models.named("chain").model
    shutil.rmtree(tmp_path / "one")
    shutil.copytree(bundles / "residual", tmp_path / "one")
    os.utime(tmp_path / "one" / "bundle.json")
    models.refresh()
    assert list(models.names()) == ["residual"]
    assert not models.has(chain)
    assert models.find(chain) is not None
