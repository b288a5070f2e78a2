"""The way back into a JupyterHub: the browser cannot reach a kernel there, but jupyter-server-proxy can.

    https://hub.example/user/ada/proxy/PORT/callback   ->   http://127.0.0.1:PORT/callback

It has to be installed where the Jupyter *server* runs, and lets only those through who may use that server. It takes
its own path away and passes on all headers, `Host` included.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from ..oauth.urls import url_problem
from .loopback import can_listen_at

# The last port counts: a hub may itself be behind another one's proxy.
_PROXIED = re.compile(r"(?P<base>https?://[^/?#]+/(?:[^?#]*/)?proxy/)(?P<port>[0-9]{1,5})(?P<path>/[^?#]*)")


@dataclass(frozen=True)
class Proxied:
    """A redirect URI that jupyter-server-proxy leads to a port of this machine; see `proxied`.

    Attributes:
        base: all that is before the port.
        port: of this machine; 0 for a free one.
        path: what is asked for there.
    """

    base: str
    port: int
    path: str

    def at(self, port: int) -> str:
        """Return the redirect URI for the port that is really listened on."""
        return f"{self.base}{port}{self.path}"


def proxied(uri: str) -> Proxied | None:
    """Take apart a redirect URI that names a port of this machine in its path; None for every other one."""
    match = _PROXIED.fullmatch(uri)
    if match is None or not _is_public_address(match["base"]) or int(match["port"]) > 65535:
        return None
    return Proxied(match["base"], int(match["port"]), match["path"])


@dataclass(frozen=True)
class JupyterHub:
    """The JupyterHub that a kernel runs in.

    Attributes:
        prefix: the path of the person's server, such as `/user/ada/`.
        public_url: that server as a browser sees it, such as `https://hub.example/user/ada/`; empty if nobody says.
    """

    prefix: str
    public_url: str = ""

    @classmethod
    def here(cls, environ: Mapping[str, str] | None = None) -> JupyterHub | None:
        """Find the hub in the environment, or return None: JupyterHub starts servers with `JUPYTERHUB_SERVICE_PREFIX`.

        Since version 5 there is `JUPYTERHUB_PUBLIC_URL` too, empty unless the hub is configured with `public_url` or
        subdomains; a person may set it as well. `JUPYTERHUB_HOST` is no help: it is empty in the same cases, and with
        subdomains it is the host of the hub, not that of the person's server.

        Args:
            environ: the environment; the process's if not given.
        """
        given = os.environ if environ is None else environ
        prefix = given.get("JUPYTERHUB_SERVICE_PREFIX", "")
        return cls(prefix, _server_url(given.get("JUPYTERHUB_PUBLIC_URL", ""), prefix)) if prefix else None

    def proxied(self, redirect_uri: str) -> str:
        """Return the redirect URI that leads through the hub to where a loopback one leads.

        Every other one stays as it is, and so do all if nobody says the hub's address.
        """
        if not self.public_url or proxied(redirect_uri) or not can_listen_at(redirect_uri):
            return redirect_uri
        parts = urlsplit(redirect_uri)
        return f"{self.public_url}proxy/{parts.port or 0}{parts.path or '/'}"

    @property
    def hint(self) -> str:
        """What to do if the browser is to come back to a loopback address, which is not the one of its own machine."""
        address = f"{self.public_url or f'https://YOUR-HUB{self.prefix}'}proxy/8765/callback"
        unknown = "" if self.public_url else ", or set JUPYTERHUB_PUBLIC_URL to the address of your server"
        return (
            "This kernel is in a JupyterHub, where the browser cannot come back to 127.0.0.1. If your server has "
            f"jupyter-server-proxy, make {address} the redirect URI, here and where the client is registered (port 0 "
            f"takes a free one, for a client that registers itself){unknown}. Or paste the address that the browser "
            "ends on."
        )


#: Finds the hub that this runs in.
FindHub = Callable[[], JupyterHub | None]


def way_back(authorization_url: str, hub: JupyterHub | None) -> str:
    """Say in one sentence where an authorization request has the browser come back to."""
    try:
        uri = parse_qs(urlsplit(authorization_url).query).get("redirect_uri", [""])[-1]
        place = urlsplit(uri).netloc
    except ValueError:
        # A person may try any parameter.
        uri = place = ""
    if not place:
        return "The request does not say where the browser comes back to."
    if proxied(uri) is not None:
        return f"The browser comes back to {place}, and through jupyter-server-proxy to this kernel."
    if hub is not None and can_listen_at(uri):
        return f"The browser is sent back to {place}, where a kernel in a JupyterHub cannot be reached."
    return f"The browser comes back to {place}."


def _server_url(url: str, prefix: str) -> str:
    """Return the address of the person's server with a slash at its end, or nothing if it cannot be used."""
    if not _is_public_address(url):
        return ""
    # A person may give the host alone.
    path = urlsplit(url).path.strip("/")
    return f"{url.rstrip('/')}{'' if path else prefix.rstrip('/')}/"


def _is_public_address(url: str) -> bool:
    # A code is not to cross a network in clear (RFC 9700 section 2.6).
    return not url_problem(url) and "?" not in url
