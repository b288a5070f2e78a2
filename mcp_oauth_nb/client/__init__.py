"""The clients: `OAuthHandler` of the guide, `Session` and `McpAuth` over HTTP, the browser's way back, GitHub's API.

Main names: `handler.OAuthHandler`, `session.Session`, `auth.McpAuth`. It imports `oauth`, `runtime`, `trace` and
`store`. Public: `handler`, `session`, `auth`, `login`, `callback`, `github`, `jupyterhub`, `connection`; the others
are the HTTP client's parts: `auth` opens `provider`, whose way through a 401 is in `grants`, `wire`, `reading` and
`registration`.
"""
