"""Every kind of content block, input item and tool of every API, as its `type` says, and how it is judged.

A kind that carries a date (`bash_20250124`) is known by what stands before it (`bash_`): a later version of a tool is
run by whom it was run before. A test walks the parameter types
of the providers' SDKs and fails for each kind that is not here.
"""

from __future__ import annotations

import re

from reconciler.gateway.judging.rules import Table, Treatment, named

ITEMS: Table = named(
    (
        Treatment.HOLDS,
        # blocks and parts
        "message text input_text output_text refusal summary_text reasoning_text thinking redacted_thinking image"
        " image_url input_image video_url file input_file input_audio document search_result tool_result fallback"
        " tool_addition tool_removal tool_definition browser_state computer_screenshot"
        " reasoning.text reasoning.summary reasoning.encrypted"
        # their sources
        " base64 url content"
        # what a model asked a client's tool, and what that said
        " tool_use function custom function_call function_call_output custom_tool_call custom_tool_call_output"
        " local_shell_call local_shell_call_output shell_call shell_call_output apply_patch_call"
        " apply_patch_call_output computer_call computer_call_output tool_search_call"
        # tools that come on the way, and settings that change
        " tool_search_output additional_tools configuration_update"
        # Codex's, between its agents
        " agent_message",
    ),
    (Treatment.COMPACTS, "compaction_trigger"),
    (Treatment.COMPACTED, "compaction context_compaction"),
    (Treatment.REASONING, "reasoning"),
    (
        Treatment.COUNTED,
        # of these the provider has more than they show
        "item_reference tool_reference mcp_tool_listing mcp_list_tools"
        # what a tool of the provider's did before
        " server_tool_use web_search_call file_search_call code_interpreter_call image_generation_call mcp_call"
        " mcp_approval_request program program_output mcp_tool_use mcp_tool_result"
        " web_search_tool_result web_search_result web_search_tool_result_error"
        " web_fetch_tool_result web_fetch_result web_fetch_tool_result_error"
        " advisor_tool_result advisor_result advisor_redacted_result advisor_tool_result_error"
        " code_execution_tool_result code_execution_result encrypted_code_execution_result code_execution_output"
        " code_execution_tool_result_error bash_code_execution_tool_result bash_code_execution_result"
        " bash_code_execution_output bash_code_execution_tool_result_error"
        " text_editor_code_execution_tool_result text_editor_code_execution_view_result"
        " text_editor_code_execution_create_result text_editor_code_execution_str_replace_result"
        " text_editor_code_execution_tool_result_error"
        " tool_search_tool_result tool_search_tool_search_result tool_search_tool_result_error",
    ),
    (Treatment.REFUSED, "container_upload mcp_approval_response mcp_tool_reference mcp_toolset_reference"),
)

FORMATS: Table = named(
    (Treatment.TEXT, "text json_object json_schema grammar enabled disabled adaptive between_tools regex")
)
"""Kinds of settings: formats of the answer, and ways to think."""

TOOLS: Table = named(
    (Treatment.HOLDS, "function custom namespace"),
    (Treatment.CLIENTS, "bash_ text_editor_ memory_ computer_ local_shell apply_patch"),
    (Treatment.SHELL, "shell"),
    (Treatment.SEARCH, "tool_search"),
    (Treatment.COUNTED, "computer_toolset_ browser_toolset_ computer computer_use_preview"),
    (
        Treatment.REFUSED,
        "web_search web_search_ web_search_preview web_search_preview_ web_fetch_ code_execution_ code_interpreter"
        " programmatic_tool_calling file_search image_generation mcp mcp_toolset advisor_ tool_search_tool_bm25"
        " tool_search_tool_bm25_ tool_search_tool_regex tool_search_tool_regex_",
    ),
)

EDITS: Table = named((Treatment.TEXT, "clear_tool_uses_ clear_thinking_"), (Treatment.REFUSED, "compact_ compaction"))
"""Kinds of edits by which the provider shortens the input; a summary is one more request."""

ENVIRONMENTS: Table = named((Treatment.TEXT, "local"), (Treatment.REFUSED, "container_auto container_reference"))
"""Kinds of environments in which commands run: at the client, or in a container of the provider's."""

GEMINI_TOOLS: Table = named(
    (Treatment.FUNCTIONS, "function_declarations"),
    (Treatment.COUNTED, "computer_use"),
    (
        Treatment.REFUSED,
        "google_search google_search_retrieval google_maps url_context code_execution file_search mcp_servers retrieval"
        " enterprise_web_search parallel_ai_search exa_ai_search",
    ),
)
"""Gemini's tools, which have no type: each is known by its field."""

_DATED = re.compile(r"(?<=_)(?:\d{8}|\d{4}_\d\d_\d\d)$")


def kind_of(table: Table, kind: str) -> Treatment | None:
    """Find a kind, with or without its date, None if it is not known."""
    return table.get(kind) or table.get(_DATED.sub("", kind))
