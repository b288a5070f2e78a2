"""The clients: `OAuthHandler` of the guide, `Session` and `McpAuth` over HTTP, the browser's way back, GitHub's API.

Main names: `handler.OAuthHandler`, `session.Session`, `auth.McpAuth`. It imports `store`, `trace`, `runtime` and
`oauth`. `auth` opens `provider`, whose way through a 401 is in `grants`, `wire`, `reading` and `registration`; the
debugger and the attack lab take that client apart. Public is all but `bounds`, `carrier`, `connection`, `context`,
`cookies`, `flow_checks`, `foreign`, `front`, `grants`, `metadata`, `reading`, `registration`.
"""
