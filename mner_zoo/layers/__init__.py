"""Layers that systems share: they take numbers, never a configuration."""
