"""Which of the suite's scenarios this project cannot be measured by, and why.

A key is a scenario, or `scenario:check` for one check of a scenario that counts otherwise. `make conformance` fails if
one that is listed here passes, if one that is not listed fails, and if one that is listed is no scenario any more.
"""

from __future__ import annotations


def _tool(name: str) -> str:
    return f"calls a tool of the suite's own sample server, `{name}`"


def _prompt(name: str) -> str:
    return f"asks for a prompt of the suite's own sample server, `{name}`"


_NO_RESOURCES = "the server has no resources; the scenario reads one of the suite's own sample server"
_NO_SUBSCRIPTIONS = "the server has no resources, and so no `resources.subscribe` capability"
_NO_TASKS = "the tasks extension, which the server does not have"
_NO_SKILLS = "the skills extension, which the server does not have"

SERVER = {
    "logging-set-level": "the server sends its clients no log messages, and has no `logging` capability",
    "completion-complete": "the server completes no arguments, and has no `completions` capability",
    "tools-call-image": _tool("test_image_content"),
    "tools-call-audio": _tool("test_audio_content"),
    "tools-call-embedded-resource": _tool("test_embedded_resource"),
    "tools-call-mixed-content": _tool("test_multiple_content_types"),
    "tools-call-with-logging": _tool("test_tool_with_logging"),
    "tools-call-with-progress": _tool("test_tool_with_progress"),
    "tools-call-sampling": _tool("test_sampling"),
    "tools-call-elicitation": _tool("test_elicitation"),
    "json-schema-2020-12": _tool("json_schema_2020_12_tool"),
    "elicitation-sep1034-defaults": _tool("test_elicitation_sep1034_defaults"),
    "elicitation-sep1330-enums": _tool("test_elicitation_sep1330_enums"),
    "server-sse-polling": _tool("test_reconnection"),
    "resources-read-text": _NO_RESOURCES,
    "resources-read-binary": _NO_RESOURCES,
    "resources-templates-read": _NO_RESOURCES,
    "resources-subscribe": _NO_SUBSCRIPTIONS,
    "resources-unsubscribe": _NO_SUBSCRIPTIONS,
    "prompts-get-simple": _prompt("test_simple_prompt"),
    "prompts-get-with-args": _prompt("test_prompt_with_arguments"),
    "prompts-get-embedded-resource": _prompt("test_prompt_with_embedded_resource"),
    "prompts-get-with-image": _prompt("test_prompt_with_image"),
    "http-custom-header-server-validation": "no tool of the server has an `x-mcp-header` argument",
    "input-required-result-basic-elicitation": _tool("test_input_required_result_elicitation"),
    "input-required-result-basic-sampling": _tool("test_input_required_result_sampling"),
    "input-required-result-basic-list-roots": _tool("test_input_required_result_list_roots"),
    "input-required-result-request-state": _tool("test_input_required_result_request_state"),
    "input-required-result-multiple-input-requests": _tool("test_input_required_result_multiple_inputs"),
    "input-required-result-multi-round": _tool("test_input_required_result_multi_round"),
    "input-required-result-missing-input-response": _tool("test_input_required_result_elicitation"),
    "input-required-result-non-tool-request": _prompt("test_input_required_result_prompt"),
    "input-required-result-result-type": _tool("test_input_required_result_elicitation"),
    "input-required-result-tampered-state": _tool("test_input_required_result_tampered_state"),
    "input-required-result-capability-check": _tool("test_input_required_result_capabilities"),
    "server-stateless:sep-2575-server-rejects-undeclared-capability": _tool("test_missing_capability"),
    "server-stateless:sep-2575-missing-capability-http-400": _tool("test_missing_capability"),
    "server-stateless:sep-2575-server-sends-tools-list-changed-on-subscription": (
        "changes the tools by a tool of the suite's own sample server; those of this server never change"
    ),
    "server-stateless:sep-2575-server-sends-prompts-list-changed-on-subscription": (
        "changes the prompts by a tool of the suite's own sample server; those of this server never change"
    ),
    "tasks-lifecycle": _NO_TASKS,
    "tasks-capability-negotiation": _NO_TASKS,
    "tasks-wire-fields": _NO_TASKS,
    "tasks-request-state-removal": _NO_TASKS,
    "tasks-mrtr-input": _NO_TASKS,
    "tasks-request-headers": _NO_TASKS,
    "tasks-dispatch-and-envelope": _NO_TASKS,
    "tasks-status-notifications": _NO_TASKS,
    "tasks-required-task-error": _NO_TASKS,
    "tasks-mrtr-composition": _NO_TASKS,
    "sep-2640-skills-directory": _NO_SKILLS,
    "sep-2640-skills-enumeration": _NO_SKILLS,
    "sep-2640-skills-manifest": _NO_SKILLS,
}

# Beside these, where the suite brings no token. With one it passes.
WITHOUT_TOKEN = {"http-header-validation": "calls the first tool, and no 401 will do for it"}

# They pass because the refusal of an unknown tool happens to look like what they expect. It would be no honest green.
HOLLOW = {
    "tools-call-simple-text": _tool("test_simple_text"),
    "tools-call-error": _tool("test_error_handling"),
    "input-required-result-ignore-extra-params": _tool("test_input_required_result_elicitation"),
    "input-required-result-validate-input": _tool("test_input_required_result_elicitation"),
}

# No revision of the specification requires them; the requirement sets run them without scoring.
CLIENT = {
    "auth/client-credentials-jwt": "an extension, which the client does not have: a client without a person",
    "auth/client-credentials-basic": "an extension, which the client does not have: a client without a person",
    "auth/enterprise-managed-authorization": "an extension, which the client does not have: an employer's grant",
    "auth/dpop": "an extension, which the client does not have: DPoP (RFC 9449)",
    "auth/dpop-nonce": "an extension, which the client does not have: DPoP (RFC 9449)",
    "auth/wif-jwt-bearer": "an extension, which the client does not have: workload identity",
}
