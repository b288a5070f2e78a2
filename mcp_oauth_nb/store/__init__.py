"""Where tokens and grants are kept: in memory, in a file, in the keyring, in what several servers share.

Main names: `tokens.FileTokenStore`, `grants.FileGrantStore`, `keyring.KeyringTokenStore`. It imports `oauth`.
Public is all but `file` and `key`, which the stores are made of; `shared` is what several servers share.
"""
