"""`python -m mcp_oauth_nb`: the command line."""

from .cli.commands import main

if __name__ == "__main__":
    main(prog_name="mcp-oauth-nb")
