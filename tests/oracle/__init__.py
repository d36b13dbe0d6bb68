"""Real `uv sync` over copies of locks, to hold the selection against."""
