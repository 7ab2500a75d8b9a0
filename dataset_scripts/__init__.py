"""Readers and builders of the corpora, one corpus a file, over shared readers."""
