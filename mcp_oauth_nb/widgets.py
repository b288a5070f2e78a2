"""The door to `jupyter.widgets`: the path that the guide names."""

from .jupyter.widgets import __all__ as __all__
from .jupyter.widgets import __dir__ as __dir__
from .jupyter.widgets import __getattr__ as __getattr__
