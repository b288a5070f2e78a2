"""Panels for notebooks. Each shows a model, which does the work and is of use without the panel too."""

from .authorize import AuthorizeModel, AuthorizePanel

__all__ = ["AuthorizeModel", "AuthorizePanel"]
