"""One file for each published system."""
