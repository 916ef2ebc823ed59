"""Who may speak to the server: this machine, or those with the token; no page of another site.

A browser lets any page open connections to 127.0.0.1. So the host that was asked for has to be one
of ours (else a strange name was pointed at this machine), and a page that asks has to come from it.
"""

import hmac
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from starlette.requests import HTTPConnection

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Doorkeeper:
    """Lets connections in.

    Args:
        token: That has to be told, as `Authorization: Bearer TOKEN` or `?token=TOKEN`; None where
            the server can be reached from this machine alone.
    """

    token: str | None = None

    def refusal(self, asked: HTTPConnection) -> str | None:
        """Why a connection is not let in; None where it is."""
        host, origin = asked.headers.get("host", ""), asked.headers.get("origin")
        asked_for, page = _parts(f"//{host}"), _parts(origin or "")
        if self.token is None and (asked_for is None or asked_for.hostname not in LOOPBACK):
            return "Expected to be asked as 127.0.0.1 or localhost."
        if origin is not None and (page is None or page.netloc != host):
            return "Expected no page of another site."
        if self.token is not None and not self._told(asked):
            return "Expected the token: Authorization: Bearer TOKEN, or ?token=TOKEN."
        return None

    def _told(self, asked: HTTPConnection) -> bool:
        """Compared in a time that does not depend on how much of it is right."""
        kind, _, word = asked.headers.get("authorization", "").partition(" ")
        given = word if kind.lower() == "bearer" else asked.query_params.get("token", "")
        return hmac.compare_digest(given.encode(), (self.token or "").encode())


def _parts(address: str) -> SplitResult | None:
    """Of an address; None of what is none."""
    try:
        return urlsplit(address) if address.isprintable() else None
    except ValueError:  # half an IPv6 address
        return None
