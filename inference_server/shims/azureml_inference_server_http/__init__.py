"""The names that scoring scripts import from the genuine server, where that is not installed."""

__version__ = "1.5.1"
