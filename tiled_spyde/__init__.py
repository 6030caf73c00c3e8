"""A tiled-data service for microscopy: every node is an array, every view is a slice."""

__version__ = "0.1.0"
