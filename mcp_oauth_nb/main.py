"""`python -m mcp_oauth_nb.main`: the guide's way to start the server, the same as `python -m mcp_oauth_nb serve`."""

import sys

from .cli.commands import main

if __name__ == "__main__":
    main(["serve", *sys.argv[1:]])
