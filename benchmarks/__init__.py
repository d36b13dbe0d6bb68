"""Benchmarks: this program and its peers on the same files, in one run.

`python -m benchmarks` as root; `docs/reference/performance.md` says what it needs and shows the
figures.
"""
