"""Places that no server on the internet has any business with, in the ways to write them."""

from __future__ import annotations

from typing import Any

ODD = [
    "http://auth.example", "https://user@auth.example", "https://user:word@auth.example", "http://127.0.0.1:9",
    "https://127.0.0.1", "https://localhost", "https://app.localhost", "https://[::1]", "https://10.0.0.1",
    "https://192.168.0.1", "https://172.16.0.1", "https://100.64.0.1", "https://[fd00::1]", "https://169.254.169.254",
    "https://[fe80::1]", "https://0.0.0.0", "https://[::ffff:127.0.0.1]", "https://[::ffff:169.254.169.254]",
    "https://[64:ff9b::7f00:1]", "https://[64:ff9b::a9fe:a9fe]", "https://[2002:7f00:1::]", "https://[2001:0:7f00:1::]",
    "https://2130706433", "https://0x7f.1", "https://0177.0.0.1", "https://127.1", "https://printer.local",
    "https://db.internal", "https://metadata.google.internal", "https://intranet", "https://224.0.0.1",
]  # fmt: skip

# What a server on the internet may have in its DNS beside an address of its own.
INSIDE = ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fe80::1", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe"]
# A peer on the internet.
OUTSIDE = ("93.184.215.14", 443)


def naming(where: str, place: str) -> dict[str, Any]:
    """A server that names an odd place in one of the five ways that it can."""
    match where:
        case "resource_metadata":
            return {"resource_metadata": f"{place}/prm"}
        case "authorization_servers":
            return {"authorization_servers": [place]}
        case _:
            return {"changed": {where: f"{place}/x"}}


WAYS = [
    "resource_metadata", "authorization_servers", "authorization_endpoint", "token_endpoint", "registration_endpoint",
]  # fmt: skip
