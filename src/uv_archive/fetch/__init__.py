"""Fetching: many files at a time, each under its final name only once its digest agrees.

`transport` is what is needed of an HTTP client, and `client` (to be imported where it is used) the
one that is there; `exchange` adds redirects and credentials, `transfers` resumption, retries and
the check.
"""

from uv_archive.fetch.credentials import Credentials
from uv_archive.fetch.login import CredentialSource
from uv_archive.fetch.mirrors import Mirrors
from uv_archive.fetch.reporter import Reporter
from uv_archive.fetch.retry import Clock, RetryPolicy
from uv_archive.fetch.sizes import content_lengths
from uv_archive.fetch.transfers import Failure, Fetched, FetchResult, Transfer, fetch_all
from uv_archive.fetch.transport import Response, Transport

__all__ = [
    "Clock",
    "Credentials",
    "CredentialSource",
    "Failure",
    "FetchResult",
    "Fetched",
    "Mirrors",
    "Reporter",
    "Response",
    "RetryPolicy",
    "Transfer",
    "Transport",
    "content_lengths",
    "fetch_all",
]
