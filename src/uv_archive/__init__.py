"""Take a uv project's locked distributions offline, and install from them."""
