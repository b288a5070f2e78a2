"""The commands of `mcp-oauth-nb`, one file each; `commands` has their options and the short ones.

Main names: `commands.main`, `serve`, `debug`. It imports all rooms, and nothing imports it.
"""
