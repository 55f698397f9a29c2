"""Applications on top of the engine: thin."""
