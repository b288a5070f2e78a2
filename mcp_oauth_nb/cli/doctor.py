"""What `mcp-oauth-nb doctor` looks at: each finding says what is there and, where it is wrong, what to do."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from dataclasses import dataclass
from urllib.parse import urlsplit

from dotenv import find_dotenv

from ..client.handler import OAuthHandler
from ..client.jupyterhub import JupyterHub, proxied
from ..client.loopback import can_listen_at
from ..oauth.clock import SystemClock, iso
from ..oauth.errors import ConfigurationError
from ..oauth.settings import DeploymentSettings, Settings
from ..oauth.token import Token
from ..store.chosen import chosen_store

_PACKAGES = ("mcp-oauth-nb", "mcp", "httpx", "pydantic", "ipywidgets", "ipykernel", "nbval", "pytest")


@dataclass(frozen=True)
class ReportLine:
    """One line of the report."""

    ok: bool
    subject: str
    detail: str
    hint: str = ""

    def __str__(self) -> str:
        line = f"{'ok  ' if self.ok else 'FAIL'}  {self.subject}: {self.detail}"
        return f"{line}\n      What to do: {self.hint}" if self.hint else line


def examine() -> list[ReportLine]:
    """Look at everything that a sign-in and the server need. Nothing is sent anywhere."""
    findings = [_python(), *_packages(), _dotenv()]
    try:
        settings, deployment = Settings(), DeploymentSettings()
    except ConfigurationError as error:
        return [*findings, ReportLine(False, "configuration", error.message, error.hint)]
    about = [_credentials(settings), _provider(settings), _redirect(settings)]
    return [*findings, *about, _deployment(deployment), _token(settings)]


def _python() -> ReportLine:
    return ReportLine(True, "Python", ".".join(map(str, sys.version_info[:3])))


def _packages() -> list[ReportLine]:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    lab = "installed" if importlib.util.find_spec("jupyterlab") else 'not installed (pip install "mcp-oauth-nb[lab]")'
    return [ReportLine(True, "packages", versions), ReportLine(True, "JupyterLab", lab)]


def _dotenv() -> ReportLine:
    path = find_dotenv(usecwd=True)
    return ReportLine(True, ".env", path or "none in this directory or above; the environment alone counts")


def _credentials(settings: Settings) -> ReportLine:
    missing = settings.missing()
    if not missing:
        return ReportLine(True, "credentials", "OAUTH_CLIENT_ID and OAUTH_CLIENT_SECRET are set")
    return ReportLine(
        False,
        "credentials",
        f"OAuth is not configured: {' and '.join(missing)} not set",
        "Set them in the environment or in .env; notebook 08 shows how to get them. The lab needs none.",
    )


def _deployment(deployment: DeploymentSettings) -> ReportLine:
    given = deployment.model_dump(exclude={"token_store"})
    set_here = [name.upper() for name, value in given.items() if value is not None]
    others = f"{', '.join(set_here) or 'none'} of {', '.join(name.upper() for name in given)}"
    return ReportLine(True, "stores", f"TOKEN_STORE is {deployment.token_store}; set: {others}")


def _provider(settings: Settings) -> ReportLine:
    hosts = {urlsplit(url).hostname for url in (settings.oauth_authorization_url, settings.oauth_token_url)}
    if len(hosts) > 1:
        return ReportLine(
            False,
            "provider",
            "the authorization and the token URL are on different hosts",
            "Set OAUTH_AUTHORIZATION_URL and OAUTH_TOKEN_URL to the same provider, with its OAUTH_ISSUER.",
        )
    return ReportLine(True, "provider", f"{settings.oauth_issuer}, scopes {', '.join(settings.oauth_scopes)}")


def _redirect(settings: Settings) -> ReportLine:
    uri, hub = settings.oauth_redirect_uri, JupyterHub.here()
    if (way := proxied(uri)) is not None:
        port = f"port {way.port}" if way.port else "any free port"
        return ReportLine(True, "redirect", f"{uri} (through jupyter-server-proxy, {port})")
    if hub is not None and can_listen_at(uri):
        return ReportLine(True, "redirect", f"{uri} (in a JupyterHub)", hub.hint)
    if not can_listen_at(uri):
        return ReportLine(True, "redirect", f"{uri} (nobody can listen there: use login --paste)")
    number = urlsplit(uri).port
    return ReportLine(True, "redirect", f"{uri} ({f'port {number}' if number else 'any free port'})")


def _token(settings: Settings) -> ReportLine:
    try:
        store = chosen_store()
        token = OAuthHandler(settings=settings, store=store).token
    except ConfigurationError as error:
        return ReportLine(False, "token", error.message, error.hint)
    if token is None:
        return ReportLine(True, "token", f"none in {store.place}; mcp-oauth-nb login gets one")
    if token.is_expired(SystemClock().now()) and not _can_be_refreshed(token):
        return ReportLine(
            False, "token", f"expired at {iso(token.expires_at or 0)}", "Sign in again: mcp-oauth-nb login"
        )
    return ReportLine(True, "token", repr(token))


def _can_be_refreshed(token: Token) -> bool:
    until = token.refresh_token_expires_at
    return token.refresh_token is not None and (until is None or SystemClock().now() < until)
