"""What carries the modalities: the networks of codi-mini, those of public models."""
