"""The clients: `OAuthHandler` of the guide, `Session` and `McpAuth` over HTTP, the redirect listener, GitHub's API.

Main names: `handler.OAuthHandler`, `session.Session`, `auth.McpAuth`. It imports `store`, `trace`, `runtime` and
`oauth`. To follow a 401 begin in `provider`: it refreshes in `grants` (`context` says what has expired), checks every
request in `wire`, reads challenges and metadata in `reading`, registers in `registration`, sends the person to the
browser in `front` and `redirect`, and ends step-ups in `step_up`; `transport` puts it under the MCP connection.

Public is all but `bounds`, `carrier`, `connection`, `context`, `cookies`, `flow_checks`, `foreign`, `front`, `grants`,
`metadata`, `reading`, `registration`.
"""
