"""Records what the SDK's HTTP client sends: its classes around the recorder of `http`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2

from .http import BodyCopy, HttpRecorder


class RecordingTransport2(httpx2.AsyncBaseTransport):
    """Records what passes through another transport; see `Trace.http2`."""

    def __init__(self, recorder: HttpRecorder, inner: httpx2.AsyncBaseTransport):
        self._recorder = recorder
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        pending = self._recorder.request(request.method, str(request.url), request.headers, await request.aread())
        try:
            response = await self._inner.handle_async_request(request)
        except httpx2.TransportError as error:
            pending.failed(error)
            raise
        head = (response.status_code, response.reason_phrase, response.headers)
        if isinstance(response.stream, httpx2.ByteStream):
            # All there, as in a lab. Recorded now: whoever asked may read it only after the next exchanges.
            pending.arrived(*head, b"".join([chunk async for chunk in response.stream]))
            return response
        response.stream = _Tee(BodyCopy(response.stream, lambda body: pending.arrived(*head, body)))
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Tee(httpx2.AsyncByteStream):
    def __init__(self, copy: BodyCopy):
        self._copy = copy

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._copy.chunks()

    async def aclose(self) -> None:
        await self._copy.aclose()
