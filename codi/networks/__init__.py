"""Network parts that several modalities share."""
