"""The clients: `OAuthHandler` of the guide, `Session` and `McpAuth` over HTTP, the redirect listener, GitHub's API.

Main names: `handler.OAuthHandler`, `session.Session`, `auth.McpAuth`. It imports `store`, `trace`, `runtime` and
`oauth`. To follow a 401 begin in `provider`: it refreshes in `refreshing` (`context` says what has expired, `refresher`
what then becomes of the token), checks every request in `flow_requests`, reads challenges and metadata in `reading`,
registers in `registration`, sends the person to the browser in `front_channel` and `redirect`, ends step-ups in
`step_up`, and revokes in `sign_out`; `channels` has what travels beside the requests. `transport` puts it under the
MCP connection.

Public is all but `bounds`, `retrying`, `channels`, `connection`, `context`, `cookies`, `flow_checks`, `other_auth`,
`front_channel`, `refresher`, `refreshing`, `reading`, `registration`, `sign_out`.
"""
