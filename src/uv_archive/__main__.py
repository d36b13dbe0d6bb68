"""`python -m uv_archive`."""

from uv_archive.cli import main

main()
