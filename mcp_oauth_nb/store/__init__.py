"""Where tokens and grants are kept: in memory, in a file, in the keyring, in what several servers share.

Main names: `tokens.FileTokenStore`, `grants.FileGrantStore`, `keyring.KeyringTokenStore`. It imports `oauth` and
`runtime`. Public: `tokens`, `grants`, `keyring`, `chosen`, `shared`, `seal`; the others are parts of these.
"""
