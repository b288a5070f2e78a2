"""The commands of `mcp-oauth-nb`: `commands` has their options and the short ones, the others have a file each.

Main names: `commands.main`, `serve_http.serve_http`, `debug.debug`. It imports `jupyter` and the rooms below that;
only the package's own `main` and `__main__` import it: all its modules are private.
"""
