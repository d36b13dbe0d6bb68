"""What is told about transfers while they run."""

from __future__ import annotations


class Reporter:
    """Follow transfers; every method does nothing by default.

    The methods are called from the fetching threads, but never two at the same time, so an
    implementation needs no lock of its own. A slow one holds the transfers up. *label* is the
    transfer's own.
    """

    def total(self, files: int, size: int | None) -> None:
        """So many files are to come; *size* in bytes, if it is known of all."""

    def started(self, label: str, size: int | None) -> None:
        """A transfer began; *size* in bytes, if it is known."""

    def advanced(self, label: str, received: int) -> None:
        """So many bytes of the file are here in all. Fewer than before after a fresh start."""

    def retried(self, label: str, reason: str) -> None:
        """A transfer will be tried again."""

    def finished(self, label: str) -> None:
        """The file is verified and has its final name."""

    def failed(self, label: str, reason: str) -> None:
        """The transfer was given up."""
