"""The whole program end to end: real uv, an index on the loopback interface, no network."""
