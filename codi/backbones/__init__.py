"""What carries the modalities: the networks of codi-mini, later those of public models."""
