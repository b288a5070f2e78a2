"""A client made with an old version of the Python SDK, which a test drives line by line: `client_old_sdk.py URL`.

It says what the person's browser should open, and answers each line by a call of the tool named there, or by saying
that its token has expired.
"""

import asyncio
import json
import sys
from urllib.parse import parse_qs, urlsplit

from mcp import ClientSession
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamablehttp_client
from mcp.shared.auth import OAuthClientMetadata


def say(said):
    print(json.dumps(said), flush=True)


class Storage:
    """The SDK's token storage, in memory."""

    tokens = None
    client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client_info):
        self.client = client_info


class Callback:
    """Where the browser comes back to."""

    def __init__(self):
        self.visits = asyncio.Queue()

    async def serve(self, reader, writer):
        target = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nDone")
        await writer.drain()
        writer.close()
        self.visits.put_nowait(parse_qs(urlsplit(target).query))

    async def visit(self):
        fields = await self.visits.get()
        return fields["code"][0], fields["state"][0]


async def open_browser(url):
    say({"authorize": url})


async def until_expired(provider):
    """Return when the client itself knows that its token has expired."""
    is_valid = provider.context.is_token_valid if hasattr(provider, "context") else provider._has_valid_token
    async with asyncio.timeout(30):
        while is_valid():  # noqa: ASYNC110, since nothing announces that time has passed
            await asyncio.sleep(0.05)


async def main(url):
    callback = Callback()
    listener = await asyncio.start_server(callback.serve, "127.0.0.1", 0)
    came_back = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/callback"
    metadata = OAuthClientMetadata.model_validate({"client_name": "Old SDK", "redirect_uris": [came_back]})
    provider = OAuthClientProvider(url, metadata, Storage(), open_browser, callback.visit)
    async with streamablehttp_client(url, auth=provider) as (read, write, _), ClientSession(read, write) as session:
        await session.initialize()
        say({"connected": True})
        while line := await asyncio.to_thread(sys.stdin.readline):
            told = json.loads(line)
            if told == "expire":
                await until_expired(provider)
                say({"expired": True})
                continue
            result = await session.call_tool(told["tool"], told["args"])
            say({"result": result.model_dump(mode="json")})
    listener.close()


asyncio.run(main(sys.argv[1]))
