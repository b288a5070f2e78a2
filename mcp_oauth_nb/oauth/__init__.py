"""The values and rules of the protocol: settings, errors, PKCE, tokens, challenges, metadata, URLs, masking, the clock.

Main names: `settings.Settings`, `token.Token`, `challenge.AuthChallenge`. It imports no other room. Public is all but
`secret_forms`, `secret_index`, `secret_memory`, which are parts of `masking`.
"""
