"""Signs in with httpx-oauth at github.com, reads and refreshes. Arguments: client id, client secret, callback.

The authorization URL goes out as a line; the callback comes back as one. The last line is what was seen, as JSON.
"""

import asyncio
import json
import sys
from urllib.parse import parse_qs, urlsplit

from httpx_oauth.clients.github import GitHubOAuth2
from httpx_oauth.exceptions import GetProfileError
from httpx_oauth.oauth2 import RefreshTokenError


async def main(client_id, client_secret, callback):
    client = GitHubOAuth2(client_id, client_secret)
    print(await client.get_authorization_url(callback, state="a state"), flush=True)
    answer = parse_qs(urlsplit(sys.stdin.readline().strip()).query)
    old = await client.get_access_token(answer["code"][0], callback)
    seen = {"scope": old["scope"], "id_email": await client.get_id_email(old["access_token"])}
    seen["emails"] = [one["email"] for one in await client.get_emails(old["access_token"])]
    new = await client.refresh_token(old["refresh_token"])
    seen["refreshed"] = (await client.get_profile(new["access_token"]))["login"] == "hubot"
    try:
        await client.get_profile(old["access_token"])
    except GetProfileError as error:
        seen["old"] = error.response.status_code
    try:
        await client.refresh_token(old["refresh_token"])
    except RefreshTokenError as error:
        seen["spent_refresh_token"] = type(error).__name__
    print(json.dumps(seen), flush=True)


asyncio.run(main(*sys.argv[1:]))
