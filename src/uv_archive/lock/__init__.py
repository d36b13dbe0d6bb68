"""Locks: what they say (`model`) and how they are read (`reader`)."""

from uv_archive.lock.model import Distribution, Lock, Package
from uv_archive.lock.reader import parse_lock, read_lock

__all__ = ["Distribution", "Lock", "Package", "parse_lock", "read_lock"]
