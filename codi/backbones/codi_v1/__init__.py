"""The official CoDi release (i-Code-V3)."""
