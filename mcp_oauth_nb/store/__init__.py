"""Where tokens and grants are kept: in memory, in a file, in the keyring, in what several servers share.

Main names: `tokens.FileTokenStore`, `grants.FileGrantStore`, `keyring.KeyringTokenStore`. It imports `runtime` and
`oauth`. Public is all but `file`, `key`, which are parts of `tokens` and `grants`.
"""
