"""The hub's HTTPS server, which serves models."""

from __future__ import annotations

import ssl
from http import HTTPStatus

import aiohttp

from tiercut.doctor.findings import Finding, failed, good, problem
from tiercut.errors import SettingsError
from tiercut.security.identity import Identity

ANSWER_S = 5.0


#: Roles that it refuses.
_NOT_ANSWERED = frozenset({"sensor", "bus"})


async def health(url: str, identity: Identity | None) -> Finding:  # noqa: PLR0911 - one return per cause
    """Whether a hub's server answers us."""
    check, where = "hub", f"{url.rstrip('/')}/v1/health"
    try:
        context = identity.client_context() if identity is not None else True
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(where, ssl=context) as answer:
            status = answer.status
    except SettingsError as error:
        return failed(check, error)
    except aiohttp.InvalidURL:
        return problem(check, f"'{url}' is no address", "correct hub_url: https://HOST:8443")
    except (aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError) as error:
        return problem(check, f"the certificate of {url} is not trusted: {error}", "trust its authority (ca.pem)")
    except (aiohttp.ClientSSLError, ssl.SSLError) as error:
        fix = "give --identity: the hub asks for a certificate of the site"
        return problem(check, f"no handshake with {url}: {error}", fix)
    except TimeoutError:
        return problem(check, f"{url} does not answer within {ANSWER_S:g} s", "check the hub, and look for a firewall")
    except (aiohttp.ClientError, OSError) as error:
        said = getattr(error, "os_error", error)
        return problem(check, f"{url} cannot be reached: {said}", "start the hub with 'listen', or correct hub_url")
    if status == HTTPStatus.FORBIDDEN and identity is not None and identity.role in _NOT_ANSWERED:
        return good(check, f"{url} answers; role {identity.role} does not use it")
    if status == HTTPStatus.OK:
        return good(check, f"{url} answers")
    return problem(check, f"{url} answers with {status}", "check the hub's log and the role of this identity")
