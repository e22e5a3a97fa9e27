"""Which HTTP requests a server on one machine answers, so that no web page can use it through a browser.

A page reaches such a server in two ways. It sends requests of its own: the browser then adds the page's
``Origin``, or says by Fetch Metadata (https://www.w3.org/TR/fetch-metadata/) that another site asks. Or its
host name is made to resolve to this machine (DNS rebinding): the browser then takes the server for the page's
own, but still sends the page's host name as ``Host``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]/@\s]+))(?::[0-9]{1,5})?")


@dataclass(frozen=True)
class WebGuard:
    """The hosts that a server was started for.

    ``names`` are host names and addresses, in lower case. With ``any_address`` every IP address is good too:
    no name server can make an address mean another machine.
    """

    names: frozenset[str]
    any_address: bool = False

    @classmethod
    def bound_to(cls, address: str, names: Iterable[str] = ()) -> WebGuard:
        """The guard of a server that listens at ``address`` and is also known by ``names``.

        A server on all interfaces (``0.0.0.0``, ``::``) is reached by whatever addresses the machine has.
        """
        known = LOOPBACK_NAMES | {name.lower() for name in (address, *names) if name}
        everywhere = {"", "0.0.0.0", "::"}  # noqa: S104 - compared, not bound
        return cls(known - everywhere, address in everywhere)

    def objection(self, method: str, headers: Iterable[tuple[str, str]]) -> str | None:
        """Why a request must be rejected, in one sentence; None if it may be answered."""
        given: dict[str, list[str]] = {}
        for name, value in headers:
            given.setdefault(name.lower(), []).append(value.strip())
        hosts = given.get("host", [])
        if len(hosts) != 1 or not self._knows(hosts[0]):
            return f"This server was not started for the host {', '.join(hosts)!r}."
        own = f"http://{hosts[0].lower()}"
        if any(origin.lower() != own for origin in given.get("origin", [])):
            return "This server does not answer pages of another origin."
        foreign = not {"cross-site", "same-site"}.isdisjoint(given.get("sec-fetch-site", []))
        opened = given.get("sec-fetch-mode") == ["navigate"] and given.get("sec-fetch-dest") == ["document"]
        if foreign and not (opened and method == "GET"):
            # A link that a person follows is answered; what a page loads or embeds is not.
            return "This server does not answer pages of another site."
        return None

    def _knows(self, host: str) -> bool:
        parts = _HOST.fullmatch(host)
        if parts is None:
            return False
        name = (parts[1] or parts[2]).lower()
        return name in self.names or (self.any_address and _is_address(name))


def _is_address(name: str) -> bool:
    try:
        return not ip_address(name).is_unspecified
    except ValueError:
        return False
