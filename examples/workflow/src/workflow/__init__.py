"""A small scientific workflow: simulate, summarise, plot."""
