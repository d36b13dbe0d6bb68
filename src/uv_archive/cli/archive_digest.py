"""The option that several commands take to compare an archive with what was expected."""

from __future__ import annotations

import click

from uv_archive.digest import Digest


class ArchiveDigest(click.ParamType[Digest]):
    """The digest of an archive: `sha256:` and 64 hexadecimal digits."""

    name = "digest"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> Digest:
        try:
            digest = Digest.parse(value)
        except ValueError:
            digest = None
        if digest is None or digest.algorithm != "sha256":
            self.fail(
                f"`{value}` isn't `sha256:` and 64 lower-case hexadecimal digits, as `download` "
                "printed them",
                param,
                ctx,
            )
        return digest
