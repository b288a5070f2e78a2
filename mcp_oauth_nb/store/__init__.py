"""Where tokens and grants are kept: in memory, in a file, in the keyring, in what several servers share.

Main names: `records.Store`, `tokens.FileTokenStore`, `grants.FileGrantStore`. It imports `oauth`.
A record is a token or a grant; `memory`, `file` and `keyring` keep records of either kind. `shared` is another thing:
what a server over HTTP keeps, which is sealed one by one, ends by itself, and is awaited from Redis.
Public is all but `file`, `memory` and `key`, which the stores are made of.
"""
