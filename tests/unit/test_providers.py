"""What is known of the providers and their models, and who has to know each of them."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from reconciler import simulator
from reconciler.gateway.metering import RULES
from reconciler.gateway.surfaces import SURFACES
from reconciler.manifests.schema import schema_of
from reconciler.providers import PROVIDERS
from reconciler.providers.models import output_cap
from reconciler.providers.provider import Provider


@pytest.mark.parametrize(
    ("model", "cap"),
    [
        ("gemini-2.0-flash", 8_192),
        ("gemini-2.0-flash-001", 8_192),
        ("gemini-2.5-flash", 65_536),
        ("gemini-2.5-flash-lite", 65_536),
        ("gemini-2.5-flash-preview-05-20", 65_536),
        ("gpt-4o-2024-08-06", 16_384),
        ("gpt-4o-mini-2024-07-18", 16_384),
        ("gpt-4-0613", 4_096),
        ("gpt-4-0125-preview", 4_096),
        ("gpt-4o-2024-05-13", 4_096),
        ("claude-3-5-sonnet-latest", 8_192),
        ("anthropic/claude-3.5-sonnet", 8_192),
        ("gpt-4.1-2025-04-14", 32_768),
        ("gpt-5-mini", 128_000),
        ("claude-haiku-4-5-20251001", 64_000),
        ("claude-haiku-4-5@20251001", 64_000),
        ("claude-opus-4-6", 128_000),
        ("ft:gpt-4o-mini-2024-07-18:acme::abc", 16_384),
        ("openai/gpt-4o:free", 16_384),
        ("anthropic/claude-sonnet-4.6", 128_000),
        ("google/gemini-2.0-flash-001", 8_192),
        ("gpt-4o-search-preview", None),
        ("gpt-4-32k", None),
        ("o1-pro", None),
        ("gpt-4o-canary", None),
        ("vendor/model", None),
        ("ft:", None),
        ("", None),
    ],
)
def test_cap_of_a_model_is_that_of_its_family(model: str, cap: int | None) -> None:
    """Snapshots, fine-tuned models and slugs answer as much as their family; of another model nothing is said."""
    assert output_cap(model) == cap


def test_every_known_model_has_a_cap() -> None:
    """The models that manifests may name without a warning are known with their output caps."""
    assert all(output_cap(model) for provider in PROVIDERS.values() for model in provider.models)


def test_provider_is_known_wherever_it_has_to_be() -> None:
    """Its name is in the schema of bindings, and the simulator has a row for it."""
    assert set(PROVIDERS) == {provider.name for provider in PROVIDERS.values()}
    schema: Any = schema_of("model")
    assert set(schema["properties"]["spec"]["properties"]["provider"]["enum"]) == set(PROVIDERS)
    assert set(simulator.PROVIDERS) == set(get_args(simulator.Provider)) == set(PROVIDERS)


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=lambda provider: provider.name)
def test_provider_says_of_all_operations_what_has_to_be_known(provider: Provider) -> None:
    """Each of its operations is some dialect's and has a meter, and so has what it counts by."""
    judged = {operation for surface in SURFACES.values() for operation in surface.judges}
    assert provider.paths.keys() <= judged
    assert {*provider.counts, *provider.counts.values()} <= provider.paths.keys()
    assert {provider.rules.get(operation, operation) for operation in provider.paths} <= RULES.keys()
    assert provider.default_model == "" or provider.default_model in provider.models


def test_operation_is_of_one_dialect() -> None:
    """Which judges it, and knows every one of its paths."""
    judged = [operation for surface in SURFACES.values() for operation in surface.judges]
    assert len(judged) == len(set(judged))
    for surface in SURFACES.values():
        assert {*surface.routes.values(), *surface.ways} <= surface.judges.keys()
