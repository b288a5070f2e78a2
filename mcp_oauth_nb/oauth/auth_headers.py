"""The headers of a request that carries a token, which does not show where they are printed."""

from __future__ import annotations

from collections.abc import Mapping

from .masking import mask_header


class AuthHeaders(dict[str, str]):
    """Request headers whose repr masks the token, and that of their copies too."""

    def __repr__(self) -> str:
        return repr({name: mask_header(name, value) for name, value in self.items()})

    def copy(self) -> AuthHeaders:
        """Return the same headers."""
        return AuthHeaders(self)

    def __or__(self, other: Mapping[str, str]) -> AuthHeaders:  # type: ignore[override]
        return AuthHeaders({**self, **other})

    def __ror__(self, other: Mapping[str, str]) -> AuthHeaders:  # type: ignore[override]
        return AuthHeaders({**other, **self})
