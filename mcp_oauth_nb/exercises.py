"""The door to `jupyter.exercises`: the path that the notebooks name."""

from .jupyter.exercises import __getattr__ as __getattr__
