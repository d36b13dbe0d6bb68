"""The archive: a directory that any installer can use, and the metadata that says what is in it.

`layout` says where a file lies, `manifest` is `uv-archive.json`, `store` the directory on disk,
`metadata` everything that is written for others (`exports`, `locked`, `checksums`, `readme`).
"""
