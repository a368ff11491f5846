"""``tiercut certs``: a site's authority, and a certificate for each node, broker, person and sensor."""

from __future__ import annotations

import argparse
from pathlib import Path

from tiercut.cli import certs_site
from tiercut.errors import SettingsError
from tiercut.security import certificates
from tiercut.security.authority import AuthorityFolder, Sites
from tiercut.security.identity_list import ROLES, IdentityName, Listed

#: A certificate with fewer days left is shown as one to be renewed.
SOON_DAYS = 30.0


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``tiercut certs``."""
    parser = subparsers.add_parser(
        "certs",
        help="make and renew the certificates of a site",
        description="Keeps an authority in a folder, and one folder per identity beside it: ca.pem, cert.pem, key.pem.",
        epilog="docs/security.md has the way from the first certificate to a new authority",
    )
    commands = parser.add_subparsers(metavar="WHAT", required=True)
    certs_site.add_parser(commands)

    init = _command(commands, "init", "make an authority", _init)
    init.add_argument("--site", required=True, metavar="NAME", help="name of the site")
    init.add_argument(
        "--cloud-site", default="cloud", metavar="NAME", help="name of the cloud nodes' site (default: cloud)"
    )

    issue = _command(commands, "issue", "a certificate for one identity", _issue)
    issue.add_argument("role", choices=ROLES, help=", ".join(ROLES))
    issue.add_argument("name", help="the node's id, or another name")
    issue.add_argument("--site", metavar="NAME", help="its site (default: that of init; for role cloud the cloud's)")
    issue.add_argument("--host", action="append", default=[], metavar="H", help="bus, hub: a name or address it has")
    issue.add_argument("--topic", action="append", default=[], metavar="T", help="sensor: a topic it publishes on")
    issue.add_argument(
        "--days", type=int, default=certificates.CERTIFICATE_DAYS, metavar="N", help="how long it is valid"
    )
    issue.add_argument(
        "--again", action="store_true", help="reuse a removed name: holders of its old certificate get in again"
    )
    issue.add_argument("--out", type=Path, metavar="DIR", help="copy its three files there as well")

    _command(commands, "list", "show all certificates and the days they have left", _list)

    renew = _command(commands, "renew", "new certificates; all others stay", _renew)
    renew.add_argument("names", nargs="*", metavar="NAME", help="SITE/ROLE/NAME, or NAME alone (default: all)")
    renew.add_argument("--before-days", type=float, metavar="N", help="only those with fewer days left than this")
    renew.add_argument("--same-key", action="store_true", help="keep the keys")
    renew.add_argument(
        "--days", type=int, default=certificates.CERTIFICATE_DAYS, metavar="N", help="how long they are valid"
    )

    remove = _command(commands, "remove", "take an identity's rights away, and delete its files", _remove)
    remove.add_argument("names", nargs="+", metavar="NAME", help="SITE/ROLE/NAME, or NAME alone")

    rotate = _command(commands, "rotate-ca", "replace the authority, in three steps", _rotate)
    rotate.add_argument(
        "step",
        choices=("begin", "switch", "finish"),
        help="begin: all trust a new one as well; switch: it signs all certificates; finish: it alone is trusted",
    )


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, says: str, run: object
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=says, description=f"{says[0].upper()}{says[1:]}.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of the authority")
    parser.set_defaults(run=run)
    return parser


def _init(args: argparse.Namespace) -> int:
    for site in (args.site, args.cloud_site):
        IdentityName(site, "hub", "hub")  # the names are checked
    new = not (args.folder / "ca" / "authority.pem").exists()
    AuthorityFolder.new(args.folder, sites=Sites(args.site, args.cloud_site))
    said = "made an authority" if new else "there is an authority already"
    print(f"{said} in {args.folder / 'ca'}: keep its key where nobody else reads it")
    return 0


def _issue(args: argparse.Namespace) -> int:
    folder = AuthorityFolder(args.folder)
    sites = folder.sites
    site = args.site or (sites.cloud_site if args.role == "cloud" else sites.site)
    identity = IdentityName(site, args.role, args.name)
    if args.host and args.role not in {"bus", "hub"}:
        raise SettingsError(
            "--host is for servers", expected="role bus or hub with it", came=args.role, fix="omit --host"
        )
    wanted = Listed(identity, tuple(args.topic))
    made = folder.ensure(wanted, hosts=args.host, days=args.days, again=args.again)
    certs_site.refresh_cloud_rules(folder)
    print(f"{identity}  {'made' if made else 'exists already'}  {folder.files.path_of(identity)}")
    if args.out is not None:
        folder.files.copy(identity, args.out)
        print(f"copied to {args.out}")
    return 0


def _list(args: argparse.Namespace) -> int:
    folder = AuthorityFolder(args.folder)
    issued = folder.issued()
    width = max((len(str(each.identity)) for each in issued), default=0)
    for each in issued:
        notes = [f"for {', '.join(each.hosts)}"] if each.hosts else []
        if each.days_left <= 0:
            notes.append("ENDED: renew it")
        elif each.days_left < SOON_DAYS:
            notes.append("renew it soon")
        if not each.current:
            notes.append("of the old authority")
        print(f"{each.identity!s:<{width}}  {each.days_left:>6.0f} days  {'; '.join(notes)}".rstrip())
    if folder.step != "none":
        print(f"a change of the authority has {folder.step}: see 'tiercut certs rotate-ca --help'")
    return 0


def _renew(args: argparse.Namespace) -> int:
    folder = AuthorityFolder(args.folder)
    certificates.check_days(args.days)
    chosen = _chosen(folder, args.names) if args.names else [each.identity for each in folder.listed()]
    left = {each.identity: each.days_left for each in folder.issued()}
    for identity in chosen:
        if args.before_days is None or left[identity] < args.before_days:
            folder.renew(identity, days=args.days, keep_key=args.same_key)
            print(f"{identity}  renewed, {args.days} days")
    return 0


def _remove(args: argparse.Namespace) -> int:
    folder = AuthorityFolder(args.folder)
    for identity in _chosen(folder, args.names):
        folder.remove(identity)
        print(f"{identity}  removed")
    certs_site.refresh_cloud_rules(folder)
    print("its rights end when the brokers have the new access rules: see docs/security.md")
    return 0


def _rotate(args: argparse.Namespace) -> int:
    folder = AuthorityFolder(args.folder)
    if args.step == "begin":
        folder.begin_rotation()
        print("all identities trust a new authority as well. Once they have their new ca.pem: rotate-ca … switch")
    elif args.step == "switch":
        folder.switch()
        print("all certificates are of the new authority. Once they are in place: rotate-ca … finish")
    else:
        folder.finish_rotation()
        print("the old authority is no longer trusted")
    return 0


def _chosen(folder: AuthorityFolder, names: list[str]) -> list[IdentityName]:
    listed = [each.identity for each in folder.listed()]
    chosen = []
    for name in names:
        found = [each for each in listed if name in {str(each), each.name}]
        if len(found) != 1:
            raise SettingsError(
                f"the name '{name}' is not unique or not known",
                expected="the name of one, as 'tiercut certs list' shows it",
                came=", ".join(map(str, found)) or "none of that name",
                fix="write it as SITE/ROLE/NAME",
            )
        chosen += found
    return chosen
