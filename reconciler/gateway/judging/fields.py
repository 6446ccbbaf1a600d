"""Every field of every API's request body, by the place where it stands, and how it is judged.

One table for all APIs, so that one thing is judged alike whatever API it is said in. A test walks the parameter types
of the providers' SDKs and fails for each field that is not here; `judging/walk.py` has a default for what is not here.

BODY is the top of a body, SETTINGS what says how to answer, PROMPT what the model reads, DEFINITION a tool.
"""

from __future__ import annotations

import re

from reconciler.gateway.judging.rules import Table, Treatment, named, spelled

BODY: Table = named(
    (Treatment.PROMPT, "messages input instructions system contents content system_instruction requests prediction"),
    (Treatment.TOOLS, "tools"),
    (Treatment.FUNCTIONS, "functions"),
    (
        Treatment.SETTINGS,
        "audio reasoning text image response_format thinking output_config generation_config extra_body"
        " embed_content_config context_management google",
    ),
    (Treatment.MODALITIES, "modalities response_modalities"),
    (
        Treatment.TEXT,
        # all APIs
        "model stream stream_options temperature top_p top_k stop stop_sequences metadata user seed service_tier store"
        " tool_choice tool_config labels cache_control"
        # chat, responses, embeddings
        " frequency_penalty presence_penalty logit_bias logprobs top_logprobs max_tokens max_completion_tokens n"
        " function_call parallel_tool_calls prompt_cache_key prompt_cache_options prompt_cache_retention"
        " reasoning_effort safety_identifier verbosity moderation max_output_tokens max_tool_calls include truncation"
        " access_programs background_options client_metadata dimensions encoding_format"
        # OpenRouter
        " models route provider transforms usage include_reasoning structured_outputs repetition_penalty min_p top_a"
        " session_id trace debug input_type"
        # of those behind it: below the output limit, or of the input
        " min_tokens min_new_tokens min_length truncate_prompt_tokens num_ctx num_keep"
        # messages
        " inference_geo speed diagnostics fallback_credit_token betas anthropic_beta anthropic_version output_format"
        # Gemini
        " safety_settings model_armor_config task_type title output_dimensionality auto_truncate",
    ),
    (Treatment.COUNTED, "personality"),
    (
        Treatment.REFUSED,
        # what the provider has kept
        "previous_response_id previous_message_id previous_interaction_id conversation thread prompt cached_content"
        " container preset continuation_token"
        # what it runs, fetches, or does besides
        " background web_search_options plugins mcp_servers skills compaction search_parameters image_config best_of"
        " candidate_count"
        # another model or payer than the binding's, and answers that nobody metered
        " fallbacks fallback billing_policy user_profile_id workspace_id",
    ),
)

SETTINGS: Table = named(
    (Treatment.SETTINGS, "format google speech_config voice_config multi_speaker_voice_config speaker_voice_configs"),
    (Treatment.EDITS, "edits"),
    (Treatment.MODE, "mode"),
    (Treatment.MODALITIES, "modalities response_modalities"),
    (Treatment.RESOLUTION, "media_resolution"),
    (
        Treatment.TEXT,
        # chat, responses
        "type effort summary generate_summary context verbosity json_schema schema name description strict grammar"
        " voice context_compression exclude enabled"
        # messages
        " block_binding display task_budget"
        # Gemini
        " temperature top_p top_k candidate_count max_output_tokens stop_sequences response_logprobs logprobs"
        " presence_penalty frequency_penalty seed response_mime_type response_schema response_json_schema"
        " response_format audio_timestamp thinking_config thought_tag_marker thought_signature"
        " audio_transcription_config translation_config enable_affective_dialog language_code prebuilt_voice_config"
        " speaker task_type title output_dimensionality auto_truncate mime_type",
    ),
    (Treatment.COUNTED, "replicated_voice_config document_ocr audio_track_extraction"),
    (
        Treatment.REFUSED,
        "id compact_threshold cached_content tools mcp_servers routing_config model_selection_config image_config"
        " generation_output_config continuation_token automatic_continuation enable_enhanced_civic_answers",
    ),
)

PROMPT: Table = named(
    (
        Treatment.HOLDS,
        # messages, blocks, parts and items, and what they are made of
        "content parts text source file input input_audio function_response tool_calls function custom summary output"
        " reasoning_details reasoning images tool tool_changes tool_references extra_content inline_data items",
    ),
    (Treatment.TOOLS, "tools definition"),
    (Treatment.SETTINGS, "output_config format google embed_content_config"),
    (Treatment.ADDRESS, "url image_url image document"),
    (Treatment.FILM, "video_url audio_url video"),
    (Treatment.FRAMES, "video_metadata"),
    (Treatment.RESOLUTION, "media_resolution"),
    (Treatment.INLINE, "data"),
    (Treatment.FILE, "file_data"),
    (Treatment.SOUND, "audio"),
    (Treatment.CITATIONS, "citations"),
    (Treatment.ANNOTATIONS, "annotations"),
    (Treatment.ENVIRONMENT, "environment"),
    (Treatment.MODE, "mode"),
    (
        Treatment.TEXT,
        # what a model, a function or a program said: text, whatever it looks like
        "arguments args partial_args function_call response action actions operation code logs stdout stderr outcome"
        " error executable_code code_execution_result results outputs queries result tabs state_changes lines reason"
        # texts
        " refusal thinking reasoning_content thought name title context role phase status detail filename file_type"
        " display_name cited_text encrypted_content encrypted_stdout signature thought_signature fingerprint"
        # ids of what stands in the same body, and what is said about it
        " id call_id tool_use_id tool_call_id tool_id tool_name toolset_name caller namespace server_label server_name"
        " mcp_server_name index async is_error is_file_update execution approval_request_id approve"
        " max_output_length return_code num_lines start_line total_lines old_start old_lines new_start new_lines"
        " pending_safety_checks acknowledged_safety_checks logprobs revised_prompt background quality size svg_usage"
        " output_format page_age retrieved_at stop_reason error_code error_message from from_ to trigger media_type"
        " mime_type will_continue scheduling fps effort"
        # how it is to be kept, and shown
        " cache_control prompt_cache_breakpoint clear_at transformations"
        " part_metadata media_processing speech_metadata document_metadata spreadsheet_metadata audio_metadata"
        " audio_transcription provider_specific_fields"
        # what Codex says besides
        " internal_chat_message_metadata_passthrough author recipient encrypted_function_args"
        # Gemini's requests for several embeddings
        " model task_type output_dimensionality auto_truncate",
    ),
    (Treatment.COUNTED, "tool_call tool_response container_id"),
    (
        Treatment.REFUSED,
        "file_id file_ids file_url file_uri uri gcs_uri vector_store_ids container skill_id"
        " previous_response_id previous_message_id cached_content mcp_servers",
    ),
)

DEFINITION: Table = named(
    (Treatment.HOLDS, "function custom format"),
    (Treatment.TOOLS, "tools"),
    (Treatment.FUNCTIONS, "function_declarations"),
    (Treatment.ENVIRONMENT, "environment"),
    (
        Treatment.TEXT,
        "type name title description parameters parameters_json_schema input_schema output_schema response"
        " response_json_schema behavior strict async annotations grammar input_examples eager_input_streaming"
        " allowed_callers defer_loading execution cache_control configs max_characters display_height_px"
        " display_width_px display_number display_height display_width enable_zoom definition syntax",
    ),
)

EXCEPTIONS: dict[tuple[str, str], Treatment] = {
    **{
        (kind, "input"): Treatment.TEXT
        for kind in ("tool_use", "server_tool_use", "mcp_tool_use", "function_call", "custom_tool_call")
    },
    ("mcp_list_tools", "tools"): Treatment.FUNCTIONS,
    ("mcp_tool_listing", "tools"): Treatment.FUNCTIONS,
    ("web_search_result", "url"): Treatment.TEXT,
    ("web_fetch_result", "url"): Treatment.TEXT,
}
"""Fields of the prompt that mean something else in items of these kinds."""

NO_NAMES: frozenset[str] = frozenset()
THOUGHTS: dict[str, str] = {"max_tokens": "reasoning", "budget_tokens": "thinking"}
"""Settings that limit what is thought, and below which field of the body alone: `Provider.thinking` has them."""
SETTINGS_LIMITS = spelled("candidate_count max_output_tokens")
"""What limits Gemini's answers, and stands among its settings."""
_LIMITS = spelled("max_tokens max_completion_tokens max_output_tokens n")
OTHER_LIMITS: dict[str, frozenset[str]] = {
    "chat": _LIMITS - {"max_tokens", "max_completion_tokens", "n"},
    "responses": _LIMITS - {"max_output_tokens", "n"},
    "messages": _LIMITS - {"max_tokens", "n"},
    "generate": _LIMITS,
}
"""Of each operation what limits answers in the words of others: it is read and lowered in its own words alone."""
_LIMIT_WORDS = re.compile(
    r"token|budget|predict|candidate|completion|choice|generation|sequences|samples|samplecount|beam|outputs|images"
    r"|responses|responsecount|bestof|max(?:new|out|gen|len|dec|ctx|context)|^n(?:um|$)"
    r"|parallel|agents|attempts|retries|rounds|iterations|steps|turns|loops|searches"
)
"""Parts of what others call a limit of the answer, or the number of answers, or of tries, in small letters and digits
alone."""


NAME_MAX = 256
"""Characters of a field's name; a longer one is not looked into, and taken for a limit."""


def is_limit(name: str) -> bool:
    """Tell whether a field that is not known is called as a limit of an answer, however it is written."""
    return len(name) > NAME_MAX or _LIMIT_WORDS.search("".join(filter(str.isalnum, name.casefold()))) is not None
