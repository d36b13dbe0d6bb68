"""One request with all its hops: redirects, and the credentials of each host."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Mapping
from urllib.parse import urljoin

from uv_archive.fetch.credentials import Credentials
from uv_archive.fetch.login import Credential
from uv_archive.fetch.transport import Origin, Refused, Response, Transport
from uv_archive.url import Url

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 10
# uv's list: some indexes answer 404 to those who may not know what is there.
_ASKS_FOR_CREDENTIALS = frozenset({401, 403, 404})


class Exchange:
    """Send requests, follow redirects, and send each host the credentials that are its own.

    Used by many threads at once.
    """

    def __init__(self, transport: Transport, credentials: Credentials) -> None:
        self._transport = transport
        self._credentials = credentials
        self._lock = threading.Lock()
        # What a host took when it asked saves a refused request for each further file.
        self._accepted: dict[tuple[Origin, str | None], Credential] = {}
        self._unreachable: dict[Origin, str] = {}

    def open(self, method: str, url: Url, headers: Mapping[str, str]) -> Response:
        """Return the first answer that isn't a redirect. Raises `FetchError`."""
        hop, kept = url, self._credentials.for_url(url)
        for _ in range(_MOST_REDIRECTS + 1):
            response = self._ask(method, hop, headers, kept)
            if response.status not in _REDIRECTS:
                return response
            location = response.header("Location")
            response.close()
            target = next_hop(hop, location, first=url)
            kept = self._credentials.for_url(target) or (
                kept if target.origin == hop.origin else None
            )
            hop = target
        raise Refused(f"more than {_MOST_REDIRECTS} redirects, the last to `{hop}`")

    def hint(self, url: Url) -> str:
        """Say how to give credentials for *url*."""
        return self._credentials.hint(url)

    def give_up_on(self, origin: Origin, reason: str) -> None:
        """Refuse further requests to an origin until one that is under way gets through."""
        with self._lock:
            self._unreachable[origin] = reason

    def _ask(
        self, method: str, url: Url, headers: Mapping[str, str], login: Credential | None
    ) -> Response:
        # For a user without a password, what the host took of that user.
        who = (url.origin, login.user if login is not None else None)
        with self._lock:
            reason = self._unreachable.get(who[0])
            sent = login if _is_complete(login) else self._accepted.get(who, login)
        if reason is not None:
            raise Refused(reason)
        response = self._send(method, url, headers, sent)
        if response.status not in _ASKS_FOR_CREDENTIALS or _is_complete(login):
            return response
        found = self._credentials.for_url(url, asked=True)
        if found is None or found == sent:
            return response
        response.close()
        response = self._send(method, url, headers, found)
        if response.status < 400:
            with self._lock:
                self._accepted[who] = found
        return response

    def _send(
        self, method: str, url: Url, headers: Mapping[str, str], login: Credential | None
    ) -> Response:
        sent = {"Accept-Encoding": "identity", **headers}
        if login is not None:
            sent["Authorization"] = login.authorization
        response = self._transport.open(method, url, sent)
        if self._unreachable:
            with self._lock:
                self._unreachable.pop(url.origin, None)
        return response


def _is_complete(login: Credential | None) -> bool:
    return login is not None and login.is_complete


def next_hop(hop: Url, location: str | None, *, first: Url) -> Url:
    """Return where a redirect of *hop* leads. Raises `Refused` for where it must not.

    *first* is the URL of the lock: one with a public host doesn't lead into a private network.
    """
    if location is None:
        raise Refused(f"`{hop.host}` redirects without saying where to")
    try:
        target = Url.parse(urljoin(hop.without_credentials().exposed, location))
    except ValueError:
        raise Refused(f"`{hop.host}` redirects to something that is no URL of a host") from None
    if target.scheme not in ("http", "https"):
        raise Refused(f"`{hop.host}` redirects to a URL of the kind `{target.scheme}:`")
    if hop.scheme == "https" and target.scheme == "http":
        raise Refused(f"`{hop.host}` redirects from https to http, to `{target}`")
    if is_private(target.host) and not is_private(first.host):
        raise Refused(f"`{hop.host}` redirects to an address of a private network, `{target}`")
    # What a server writes there isn't the user's.
    return target.without_credentials()


def is_private(host: str) -> bool:
    """Whether *host* is by its spelling no address of the internet. No name is looked up."""
    name = host.rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return not address.is_global or address.is_multicast
