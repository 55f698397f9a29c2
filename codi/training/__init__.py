"""Training stages of a bundle, from worlds to weights."""
