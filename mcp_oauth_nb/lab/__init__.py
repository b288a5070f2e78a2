"""All of it wired, offline and seeded: `Lab`, `HttpLab`, the mock GitHub, the attacks, the pytest plugin.

Main names: `lab.Lab`, `http_lab.HttpLab`, `mock_github.MockGitHub`. It imports `server` and what is below;
`mock_github` knows no client. Public: `lab`, `http_lab`, `mock_github`, `attacks`, `demo`, `mock_server`,
`pytest_plugin`.
"""
