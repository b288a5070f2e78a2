"""All parts wired together, offline and seeded: `Lab`, `HttpLab`, the mock GitHub, the attacks, the pytest plugin.

Main names: `lab.Lab`, `http_lab.HttpLab`, `mock_github.MockGitHub`. It imports `server` and the rooms below that;
`mock_github` knows no client. All its modules are public.
"""
