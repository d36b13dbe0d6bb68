"""Take a uv project's locked distributions offline, and install from them."""

__version__ = "0.1.0.dev0"
