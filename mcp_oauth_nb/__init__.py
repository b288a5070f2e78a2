"""Learn, prototype and verify MCP authorization in Jupyter."""

from ._version import __version__

__all__ = ["__version__"]
