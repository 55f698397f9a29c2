"""One folder per modality."""
