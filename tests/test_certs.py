"""Certificates on disk, who a node is, and ``tiercut certs``."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import os
import socket
import ssl
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from tests.brokers import program
from tests.secured import claiming_to_serve
from tiercut.bus.client_tls import tls_context
from tiercut.cli import main
from tiercut.errors import SettingsError
from tiercut.node.program import MqttOpener
from tiercut.node.program import main as run_program
from tiercut.node.settings import NodeSettings
from tiercut.security import certificates
from tiercut.security.authority import AuthorityFolder, Sites
from tiercut.security.identity import Identity, claim, wait_for
from tiercut.security.identity_list import IdentityName, Listed, read_list

DEVICE, HUB = IdentityName("home", "device", "door"), IdentityName("home", "hub", "hub")


@pytest.fixture
def folder(tmp_path: Path) -> AuthorityFolder:
    made = AuthorityFolder.new(tmp_path / "pki", sites=Sites("home", "cloud"))
    for name in (DEVICE, HUB):
        made.ensure(Listed(name))
    return made


def fingerprints(made: AuthorityFolder) -> dict[str, bytes]:
    return {str(each.identity): (each.folder / "cert.pem").read_bytes() for each in made.issued()}


# ---------------------------------------------------------------------- certificates


def test_certificate_says_who_it_is_and_what_it_is_for(folder: AuthorityFolder) -> None:
    device, hub = (
        certificates.load_certificates((folder.files.path_of(name) / "cert.pem").read_bytes())[0]
        for name in (DEVICE, HUB)
    )
    assert certificates.common_name(device) == "home/device/door"
    assert certificates.hosts_of(device) == ()
    assert certificates.hosts_of(hub) == ("hub", "localhost", "127.0.0.1", "::1")
    assert 396 < certificates.days_left(device) < 398


def test_openssl_takes_the_chain_for_clients_and_for_servers_only_by_role(folder: AuthorityFolder) -> None:
    def verify(name: IdentityName, purpose: str) -> bool:
        at = folder.files.path_of(name)
        command = [program("openssl"), "verify", "-x509_strict", "-purpose", purpose, "-CAfile", at / "ca.pem"]
        return (
            subprocess.run([*map(str, command), str(at / "cert.pem")], capture_output=True, check=False).returncode == 0
        )

    assert verify(DEVICE, "sslclient")
    assert not verify(DEVICE, "sslserver")
    assert verify(HUB, "sslserver")
    assert verify(HUB, "sslclient")


def test_authority_is_named_as_openssl_looks_for_it(tmp_path: Path) -> None:
    certificate = certificates.Authority.new("My.Site-1").certificate
    (tmp_path / "ca.pem").write_bytes(certificates.certificate_pem(certificate))
    command = [program("openssl"), "x509", "-noout", "-subject_hash", "-in", str(tmp_path / "ca.pem")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert certificates.authority_file(certificate) == f"{said}.0"


def test_files_are_for_their_owner_alone(folder: AuthorityFolder) -> None:
    files = [path for path in folder.folder.rglob("*") if path.is_file()]
    assert len(files) > 8
    assert {stat.S_IMODE(path.stat().st_mode) for path in files if path.name != "sites.json"} == {0o600}
    assert stat.S_IMODE(folder.files.path_of(DEVICE).stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_renewed_files_belong_to_whom_they_belonged(tmp_path: Path) -> None:
    sites, bus = Sites("home", "cloud"), IdentityName("home", "bus", "site-bus")
    AuthorityFolder.new(tmp_path, sites=sites, bus_owner=(101, 102)).ensure(Listed(bus))
    assert main(["certs", "renew", str(tmp_path)]) == 0
    assert main(["certs", "rotate-ca", str(tmp_path), "begin"]) == 0
    files = [path for path in (tmp_path / "home" / "bus" / "site-bus").rglob("*") if path.is_file()]
    assert len(files) > 4
    assert {(each.stat().st_uid, each.stat().st_gid) for each in files} == {(101, 102)}


@pytest.mark.parametrize("bad", ["a/b", "", "+", "#", "x" * 60, "-x"])
def test_names_that_cannot_be_an_identity_are_refused(bad: str) -> None:
    with pytest.raises(SettingsError):
        IdentityName("home", "device", bad)


def test_edge_and_device_of_one_name_are_refused(folder: AuthorityFolder) -> None:
    with pytest.raises(SettingsError, match="is taken"):
        folder.ensure(Listed(IdentityName("home", "edge", "door")))


def test_renewal_changes_one_certificate_and_no_other(folder: AuthorityFolder) -> None:
    before = fingerprints(folder)
    key = (folder.files.path_of(DEVICE) / "key.pem").read_bytes()
    folder.renew(DEVICE, keep_key=True)
    assert (folder.files.path_of(DEVICE) / "key.pem").read_bytes() == key
    folder.renew(DEVICE)
    assert (folder.files.path_of(DEVICE) / "key.pem").read_bytes() != key
    after = fingerprints(folder)
    assert [name for name in before if before[name] != after[name]] == ["home/device/door"]


def test_what_is_good_stays_and_what_ends_soon_is_made_anew(folder: AuthorityFolder) -> None:
    assert not folder.ensure(Listed(HUB))
    assert folder.ensure(Listed(HUB), hosts=["10.0.0.2"])
    assert not folder.ensure(Listed(HUB), hosts=["10.0.0.2"])
    assert folder.ensure(Listed(HUB), now=dt.datetime.now(dt.UTC) + dt.timedelta(days=380))


def test_steps_of_a_new_authority_come_in_order(folder: AuthorityFolder) -> None:
    with pytest.raises(SettingsError, match=r"rotate-ca .* begin"):
        folder.switch()
    folder.begin_rotation()
    bundle = (folder.files.path_of(DEVICE) / "ca.pem").read_bytes()
    assert len(certificates.load_certificates(bundle)) == 2
    with pytest.raises(SettingsError, match=r"rotate-ca .* switch"):
        folder.begin_rotation()
    folder.switch()
    assert all(each.current for each in folder.issued())
    folder.finish_rotation()
    assert len(certificates.load_certificates((folder.files.path_of(DEVICE) / "ca.pem").read_bytes())) == 1
    assert Identity.load(folder.files.path_of(DEVICE)).name == DEVICE


def test_removed_identity_is_off_the_list_that_the_hub_has(folder: AuthorityFolder) -> None:
    folder.remove(DEVICE)
    assert [each.identity for each in read_list(folder.files.path_of(HUB) / "identities.json").listed] == [HUB]
    assert not folder.files.path_of(DEVICE).exists()


# ---------------------------------------------------------------------- who a node is


def test_certificate_for_another_node_is_refused_with_a_sentence(folder: AuthorityFolder) -> None:
    identity = Identity.load(folder.files.path_of(DEVICE))
    identity.check("home", "device", "door")
    for site, role, node in (("else", "device", "door"), ("home", "edge", "door"), ("home", "device", "gate")):
        with pytest.raises(SettingsError, match=r"for another node: expected '.*', got 'home/device/door'"):
            identity.check(site, role, node)  # type: ignore[arg-type]


def test_program_with_the_certificate_of_another_node_ends_before_it_connects(
    folder: AuthorityFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    from edge_node.settings import Settings  # noqa: PLC0415 - only here

    arguments = [
        "--identity",
        str(folder.files.path_of(DEVICE)),
        "--node",
        "kitchen",
        "--broker-url",
        "mqtts://nowhere",
    ]

    def build(_: object) -> None:
        pytest.fail("it was built")

    status = run_program(Settings, build, role="edge", program="edge", arguments=arguments)  # type: ignore[arg-type]
    assert status == 2
    assert "is for another node: expected 'home/edge/kitchen', got 'home/device/door'" in capsys.readouterr().err


def test_certificate_that_has_ended_is_refused_before_connecting(folder: AuthorityFolder) -> None:
    folder.renew(DEVICE, days=1, now=dt.datetime.now(dt.UTC) - dt.timedelta(days=2))
    with pytest.raises(SettingsError, match="has ended"):
        Identity.load(folder.files.path_of(DEVICE)).check("home", "device", "door")


@pytest.mark.parametrize("name", ["ca.pem", "cert.pem", "key.pem"])
@pytest.mark.parametrize("data", [None, b"", b"no PEM"])
def test_folder_that_is_no_identity_is_refused(folder: AuthorityFolder, name: str, data: bytes | None) -> None:
    path = folder.files.path_of(DEVICE) / name
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(SettingsError, match="no identity in"):
        Identity.load(folder.files.path_of(DEVICE))


def test_key_of_another_certificate_is_refused(folder: AuthorityFolder) -> None:
    key = (folder.files.path_of(HUB) / "key.pem").read_bytes()
    (folder.files.path_of(DEVICE) / "key.pem").write_bytes(key)
    with pytest.raises(SettingsError, match="another key"):
        Identity.load(folder.files.path_of(DEVICE))


def test_node_waits_for_files_that_come_later(folder: AuthorityFolder) -> None:
    late = IdentityName("home", "device", "late")
    timer = threading.Timer(0.3, lambda: folder.ensure(Listed(late)))
    timer.start()
    assert wait_for(folder.files.path_of(late), 10).name == late
    timer.join()
    with pytest.raises(SettingsError, match="no identity in"):
        wait_for(folder.folder / "never", 0.1)


def _claim(folder: Path, names: multiprocessing.Queue[str], done: object) -> None:
    names.put(claim(folder).node)
    done.wait(20)  # type: ignore[attr-defined]


def test_each_process_takes_an_identity_of_its_own(folder: AuthorityFolder) -> None:
    for number in (10, 2, 1):
        folder.ensure(Listed(IdentityName("home", "edge", f"edge-{number}")))
    edges = folder.folder / "home" / "edge"
    context = multiprocessing.get_context("spawn")
    names, done = context.Queue(), context.Event()
    others = [context.Process(target=_claim, args=(edges, names, done)) for _ in range(2)]
    for each in others:
        each.start()
    taken = {names.get(timeout=20) for _ in others}
    assert taken == {"edge-1", "edge-2"}
    assert claim(edges).node == "edge-10"
    with pytest.raises(SettingsError, match="3, all in use"):
        claim(edges, timeout_s=0.3)
    done.set()
    for each in others:
        each.join(20)
    assert claim(edges).node == "edge-1"


@pytest.mark.parametrize("lock_file", [True, False])
def test_renewal_does_not_give_one_identity_to_two_processes(folder: AuthorityFolder, lock_file: bool) -> None:
    edge = IdentityName("home", "edge", "edge-1")
    folder.ensure(Listed(edge))
    edges = folder.folder / "home" / "edge"
    if not lock_file:
        (edges / "edge-1" / ".lock").unlink()
    context = multiprocessing.get_context("spawn")
    names, done = context.Queue(), context.Event()
    other = context.Process(target=_claim, args=(edges, names, done))
    other.start()
    assert names.get(timeout=20) == "edge-1"
    folder.renew(edge)
    folder.files.copy(edge, edges / "edge-1")  # brought there once more
    with pytest.raises(SettingsError, match="1, all in use"):
        claim(edges)
    done.set()
    other.join(20)
    assert claim(edges).node == "edge-1"


def test_lock_is_the_same_file_after_a_renewal_and_a_copy(folder: AuthorityFolder, tmp_path: Path) -> None:
    folder.files.copy(DEVICE, tmp_path / "copy")
    locks = [folder.files.path_of(DEVICE) / ".lock", tmp_path / "copy" / ".lock"]
    before = [each.stat().st_ino for each in locks]
    folder.renew(DEVICE)
    folder.files.copy(DEVICE, tmp_path / "copy")
    assert [each.stat().st_ino for each in locks] == before


def test_identity_that_does_not_fit_is_not_claimed(folder: AuthorityFolder) -> None:
    edges = folder.folder / "home" / "edge"
    for name in ("a", "b"):
        folder.ensure(Listed(IdentityName("home", "edge", name)))
    folder.renew(IdentityName("home", "edge", "a"), days=1, now=dt.datetime.now(dt.UTC) - dt.timedelta(days=2))
    with pytest.raises(SettingsError, match="2 of another site or role, or with a certificate that has ended"):
        claim(edges, site="home", role="device")
    with pytest.raises(SettingsError, match="no free identity"):
        claim(edges, site="cabin", role="edge")
    assert claim(edges, site="home", role="edge").node == "b"


def test_client_id_is_the_same_after_a_restart_and_nobody_can_guess_it(folder: AuthorityFolder) -> None:
    keys = [folder.files.path_of(name) / "key.pem" for name in (DEVICE, HUB)]
    ids = []
    for key in (*keys, keys[0], None):
        node = NodeSettings(node="door", broker_url="mqtts://localhost", ca_file=key, cert_file=key, key_file=key)
        opener = MqttOpener(node, "device")
        ids.append(opener("mqtts://localhost", will=("t", b"")).settings.client_id)  # type: ignore[attr-defined]
    assert ids[0] == ids[2] != ids[1]
    assert ids[3] == "tiercut-home-device-door"
    assert len(ids[0]) == len(ids[3]) + 17


# ---------------------------------------------------------------------- HTTPS


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[str, str]:
    """Common names: whom the client saw, and whom the server saw; raises what either end says."""
    ours, theirs = socket.socketpair()
    seen: list[object] = []

    def serve() -> None:
        try:
            with server.wrap_socket(theirs, server_side=True) as sock:
                seen.append(sock.getpeercert())
        except OSError as error:
            seen.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(ours, server_hostname="localhost") as sock:
            saw = sock.getpeercert()
            sock.recv(1)
    finally:
        ours.close()
        thread.join()
    if isinstance(seen[0], OSError):
        raise seen[0]
    return _subject(saw), _subject(seen[0])


def _subject(certificate: object) -> str:
    return str(dict(pair[0] for pair in certificate["subject"])["commonName"])  # type: ignore[index]


def test_server_follows_its_files_and_asks_for_certificates(folder: AuthorityFolder) -> None:
    hub, device = Identity.load(folder.files.path_of(HUB)), Identity.load(folder.files.path_of(DEVICE))
    server = hub.server_context()
    assert shake_hands(server, device.client_context()) == (str(HUB), str(DEVICE))
    anonymous = ssl.create_default_context(cafile=device.ca_file)
    with pytest.raises(OSError, match=r"certificate|CERTIFICATE"):
        shake_hands(server, anonymous)
    for step in (folder.begin_rotation, folder.switch, folder.finish_rotation):
        step()
        assert shake_hands(server, device.client_context()) == (str(HUB), str(DEVICE))


def test_device_cannot_serve(folder: AuthorityFolder) -> None:
    claiming_to_serve(folder, DEVICE)
    hub, device = Identity.load(folder.files.path_of(HUB)), Identity.load(folder.files.path_of(DEVICE))
    anybody = tls_context(*map(str, (hub.ca_file, hub.cert_file, hub.key_file)))
    with pytest.raises(ssl.SSLError, match="purpose"):
        shake_hands(device.server_context(), anybody)


def test_broker_cannot_serve_in_place_of_a_hub(folder: AuthorityFolder) -> None:
    bus = IdentityName("home", "bus", "site-bus")
    folder.ensure(Listed(bus))
    server, device = (
        Identity.load(folder.files.path_of(bus)).server_context(),
        Identity.load(folder.files.path_of(DEVICE)),
    )
    anybody = tls_context(*map(str, (device.ca_file, device.cert_file, device.key_file)))
    assert shake_hands(server, anybody) == (str(bus), str(DEVICE))
    with pytest.raises(ssl.SSLCertVerificationError, match=r"expected one of '\+/hub/\+', got 'home/bus/site-bus'"):
        shake_hands(server, device.client_context())


def test_half_written_files_leave_the_last_good_ones_in_use(folder: AuthorityFolder) -> None:
    device = Identity.load(folder.files.path_of(DEVICE))
    before = device.client_context()
    key = device.key_file.read_bytes()
    device.key_file.write_bytes((folder.files.path_of(HUB) / "key.pem").read_bytes())
    assert device.client_context() is before
    device.key_file.write_bytes(key)
    assert device.client_context() is not before


# ---------------------------------------------------------------------- the command


def test_site_is_made_at_once_and_stays_when_it_is_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mount = tmp_path / "home" / "device" / "a"
    mount.mkdir(parents=True)  # a volume is there before its files
    arguments = ["certs", "site", str(tmp_path), "--devices", "a,b", "--edges", "2", "--clouds", "c"]
    arguments += ["--sensors", "bell=door/+", "--hosts", "site-bus=10.0.0.2"]
    assert main(arguments) == 0
    first = fingerprints(AuthorityFolder(tmp_path))
    assert main(arguments) == 0
    assert fingerprints(AuthorityFolder(tmp_path)) == first
    assert "11 identities" in (said := capsys.readouterr().out)
    assert "0 of them new" in said
    assert (mount / "key.pem").exists()
    rules = (tmp_path / "home" / "acl" / "acl").read_text()
    assert "topic write door/+" in rules
    assert "user home/edge/edge-2" in (tmp_path / "cloud" / "bus" / "cloud-bus" / "acl").read_text()
    configuration = (tmp_path / "home" / "bus" / "site-bus" / "mosquitto.conf").read_text()
    assert "require_certificate true" in configuration
    assert f"memory_limit {256 << 20}" in configuration
    assert main([*arguments, "--bus-memory-mb", "100"]) == 0
    for bus in ("home/bus/site-bus", "cloud/bus/cloud-bus"):
        assert f"memory_limit {100 << 20}" in (tmp_path / bus / "mosquitto.conf").read_text()
    assert main([*arguments, "--bus-memory-mb", "0"]) == 2  # Mosquitto would take that for no limit


def test_one_identity_after_the_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = str(tmp_path / "pki")
    assert main(["certs", "issue", at, "device", "door"]) == 2
    assert "tiercut certs init" in capsys.readouterr().err
    assert main(["certs", "init", at, "--site", "home"]) == 0
    assert main(["certs", "issue", at, "device", "door", "--out", str(tmp_path / "door"), "--days", "20"]) == 0
    assert Identity.load(tmp_path / "door").name == DEVICE
    assert main(["certs", "issue", at, "cloud", "c"]) == 0
    assert main(["certs", "issue", at, "device", "gate", "--host", "x"]) == 2
    capsys.readouterr()
    assert main(["certs", "list", at]) == 0
    said = capsys.readouterr().out
    assert "renew it soon" in next(line for line in said.splitlines() if line.startswith("home/device/door"))
    assert main(["certs", "renew", at, "--before-days", "30"]) == 0
    assert capsys.readouterr().out == "home/device/door  renewed, 397 days\n"
    assert main(["certs", "remove", at, "nobody"]) == 2
    assert main(["certs", "remove", at, "door"]) == 0
    for step in ("begin", "switch", "finish"):
        assert main(["certs", "rotate-ca", at, step]) == 0


SITE = ("--devices", "a,b", "--edges", "1")


def test_name_that_was_removed_does_not_come_back_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = str(tmp_path)
    assert main(["certs", "site", at, *SITE]) == 0
    assert main(["certs", "remove", at, "a"]) == 0
    assert main(["certs", "site", at, *SITE]) == 0
    assert "home/device/a  was removed" in capsys.readouterr().out
    folder, gone = AuthorityFolder(tmp_path), IdentityName("home", "device", "a")
    known = read_list(tmp_path / "home" / "hub" / "hub" / "identities.json")
    assert gone in known.removed
    assert gone not in known.names
    assert not folder.files.path_of(gone).exists()
    assert main(["certs", "issue", at, "device", "a"]) == 2
    assert "'home/device/a' was removed" in capsys.readouterr().err
    assert main(["certs", "issue", at, "device", "a", "--again"]) == 0
    assert main(["certs", "site", at, *SITE]) == 0
    assert "was removed" not in capsys.readouterr().out
    assert gone in {each.identity for each in folder.listed()}


def test_cloud_nodes_are_of_the_clouds_site_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = str(tmp_path / "pki")
    for command in ("init", "site"):
        assert main(["certs", command, at, "--site", "home", "--cloud-site", "home"]) == 2
        assert "one name" in capsys.readouterr().err
    assert not (tmp_path / "pki").exists()
    assert main(["certs", "init", at, "--site", "home", "--cloud-site", "dc"]) == 0
    assert main(["certs", "issue", at, "cloud", "c", "--site", "home"]) == 2
    assert "expected 'dc/cloud/c', got 'home/cloud/c'" in capsys.readouterr().err
    assert not AuthorityFolder(tmp_path / "pki").listed()
    assert main(["certs", "issue", at, "cloud", "c"]) == 0


@pytest.mark.parametrize("days", ["0", "-3", "3651"])
def test_days_that_no_certificate_has_change_nothing(tmp_path: Path, days: str) -> None:
    at = str(tmp_path / "pki")
    assert main(["certs", "site", at, "--days", days]) == 2
    assert not (tmp_path / "pki").exists()
    assert main(["certs", "init", at, "--site", "home"]) == 0
    assert main(["certs", "issue", at, "device", "door", "--days", days]) == 2
    assert not AuthorityFolder(tmp_path / "pki").listed()
    assert main(["certs", "issue", at, "device", "door"]) == 0
    before = fingerprints(AuthorityFolder(tmp_path / "pki"))
    assert main(["certs", "renew", at, "--days", days]) == 2
    assert fingerprints(AuthorityFolder(tmp_path / "pki")) == before
