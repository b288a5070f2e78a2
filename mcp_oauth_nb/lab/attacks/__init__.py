"""The attack lab: every attack of SECURITY.md, against this package and against a copy without the one check.

    from mcp_oauth_nb import HttpLab
    from mcp_oauth_nb.lab import attacks

    lab = await HttpLab.open()
    await attacks.mix_up(lab, defence=False)      # what the attacker gets
    await attacks.mix_up(lab, defence=True)       # the check that stops it

The copies are in `weakened`, for the lab alone: no setting of the library turns a check off.
"""

from .on_audience import session_hijack, token_passthrough, wrong_audience
from .on_consent import clickjacking, confused_deputy, localhost_impersonation
from .on_front_channel import code_injection, login_csrf, mix_up, pkce_downgrade
from .on_machine import callback_hijack, command_in_url, leak
from .on_network import forwarded_host, ssrf, ssrf_in_discovery
from .on_redirects import open_redirector, redirect_replay, redirect_uri_abuse
from .on_tokens import issuer_switch, refresh_replay, step_up_loop
from .outcome import ATTACKS, Attack, Outcome, Plot, Refused, Table, run_all, table

__all__ = [
    "ATTACKS",
    "Attack",
    "Outcome",
    "Plot",
    "Refused",
    "Table",
    "callback_hijack",
    "clickjacking",
    "code_injection",
    "command_in_url",
    "confused_deputy",
    "forwarded_host",
    "issuer_switch",
    "leak",
    "localhost_impersonation",
    "login_csrf",
    "mix_up",
    "open_redirector",
    "pkce_downgrade",
    "redirect_replay",
    "redirect_uri_abuse",
    "refresh_replay",
    "run_all",
    "session_hijack",
    "ssrf",
    "ssrf_in_discovery",
    "step_up_loop",
    "table",
    "token_passthrough",
    "wrong_audience",
]
