"""The device flow (RFC 8628): a device shows a code, and its user types it in on another machine."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .formats import answer, form_pairs, read_parameters, refusal
from .ledger import MockOAuthError
from .model import OFFLINE_ACCESS, DeviceRequest, IssuedToken, OAuthApp, split_scopes
from .signin import (
    consent_page,
    current_browser,
    device_page,
    message_page,
    sign_in_first,
    stale_form,
    submitting_browser,
)
from .state import State

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:device_code"
PATH = "/login/device/code"
PAGE = "/login/device"
_DECIDE = "/login/device/authorize"

# RFC 8628 section 3.5: a device that polls too fast waits this much longer, from then on.
_SLOW_DOWN = 5


class Device:
    """The endpoint for devices, the pages for people, and the poll that the token endpoint passes on."""

    def __init__(self, state: State):
        self._state = state
        self._by_user_code: dict[str, DeviceRequest] = {}

    def device_routes(self) -> list[Route]:
        """Return what to mount for devices."""
        return [Route(PATH, self._start, methods=["POST"])]

    def page_routes(self) -> list[Route]:
        """Return what to mount for people."""
        return [
            Route(PAGE, self._show),
            Route(PAGE, self._enter, methods=["POST"]),
            Route(_DECIDE, self._decide, methods=["POST"]),
        ]

    # -- for the device ----------------------------------------------------------------------------------------

    async def _start(self, request: Request) -> Response:
        parameters = await read_parameters(request)
        try:
            with self._state.lock:
                started = self._begin(self._app(parameters), split_scopes(parameters.get("scope", "")))
        except MockOAuthError as refused:
            return refusal(request, refused)
        return answer(
            request,
            {
                "device_code": started.device_code,
                "user_code": started.user_code,
                "verification_uri": self._state.web_url + PAGE,
                "expires_in": self._state.knobs.device_code_lifetime,
                "interval": started.interval,
            },
        )

    def _begin(self, app: OAuthApp, asked: tuple[str, ...]) -> DeviceRequest:
        state = self._state
        started = DeviceRequest(
            state.mint.device_code(),
            state.mint.user_code(),
            app.client_id,
            app.scopes(asked),
            OFFLINE_ACCESS in asked,
            expires_at=state.now() + state.knobs.device_code_lifetime,
            interval=state.knobs.device_interval,
        )
        state.device_requests[started.device_code] = self._by_user_code[started.user_code] = started
        return started

    def poll(self, parameters: Mapping[str, str]) -> IssuedToken:
        """Answer a device that asks whether its user has decided. No client secret: a device cannot keep one.

        Raises:
            MockOAuthError: not yet, too fast, no longer, or no.
        """
        state, app = self._state, self._app(parameters)
        waiting = state.device_requests.get(parameters.get("device_code", ""))
        if waiting is None or waiting.client_id != app.client_id or waiting.decision == "used":
            raise MockOAuthError("incorrect_device_code", "The device_code provided is not valid.")
        if state.now() >= waiting.expires_at:
            raise MockOAuthError("expired_token", "This 'device_code' has expired.")
        self._pace(waiting)
        if waiting.decision == "denied":
            raise MockOAuthError("access_denied", "The authorization request was denied.")
        if waiting.user is None:
            raise MockOAuthError("authorization_pending", "The authorization request is still pending.")
        waiting.decision = "used"
        expiring = app.gets_refresh_token(waiting.offline_access)
        return state.ledger.issue(
            app, waiting.user, waiting.granted, expiring=expiring, now=state.now(), by_device=True
        )

    def _pace(self, waiting: DeviceRequest) -> None:
        now, last = self._state.now(), waiting.last_poll
        waiting.last_poll = now
        if last is not None and now - last < waiting.interval:
            waiting.interval += _SLOW_DOWN
            raise MockOAuthError("slow_down", "Too many requests have been made.", interval=waiting.interval)

    def _app(self, parameters: Mapping[str, str]) -> OAuthApp:
        app = self._state.apps.get(parameters.get("client_id", ""))
        if app is None:
            raise MockOAuthError("incorrect_client_credentials", "The client_id passed is incorrect.")
        if not app.device_flow:
            raise MockOAuthError("device_flow_disabled", "Device Flow must be explicitly enabled for this App.")
        return app

    # -- for the person ----------------------------------------------------------------------------------------

    async def _show(self, request: Request) -> Response:
        browser = current_browser(self._state, request)
        if browser is None or browser.user is None:
            return sign_in_first(PAGE)
        return device_page(browser)

    async def _enter(self, request: Request) -> Response:
        form = dict(await form_pairs(request))
        browser = submitting_browser(self._state, request, form)
        if browser is None or browser.user is None:
            return stale_form()
        waiting = self._waiting(form.get("user_code", ""))
        if waiting is None:
            return device_page(browser, problem="This code is wrong, was used, or has expired.")
        app = self._state.apps[waiting.client_id]
        fields = {"user_code": waiting.user_code}
        return consent_page(app, browser, waiting.scopes, action=_DECIDE, fields=fields, leads_to=None)

    async def _decide(self, request: Request) -> Response:
        pairs = await form_pairs(request)
        form = dict(pairs)
        browser = submitting_browser(self._state, request, form)
        if browser is None or browser.user is None:
            return stale_form()
        with self._state.lock:
            waiting = self._waiting(form.get("user_code", ""))
            if waiting is None:
                return stale_form()
            if form.get("authorize") != "1":
                waiting.decision = "denied"
                return message_page("Access denied", "The device was not connected.")
            ticked = {value for name, value in pairs if name == "granted_scope"}
            waiting.granted = tuple(scope for scope in waiting.scopes if scope in ticked)
            waiting.user, waiting.decision = browser.user, "allowed"
            self._state.ledger.allow(browser.user, waiting.client_id, waiting.granted)
        return message_page("Congratulations, you're all set!", "Your device is now connected.")

    def _waiting(self, typed: str) -> DeviceRequest | None:
        """Find a request by the code that was typed: case, dash and spaces do not matter (RFC 8628 section 6.1)."""
        letters = "".join(char for char in typed.upper() if char.isalnum())
        waiting = self._by_user_code.get(f"{letters[:4]}-{letters[4:]}")
        fresh = waiting is not None and waiting.decision == "pending" and self._state.now() < waiting.expires_at
        return waiting if fresh else None
