"""What upstreams speak: one module a provider, one line here."""

from reconciler.gateway.calls import Provider
from reconciler.gateway.providers.anthropic import ANTHROPIC
from reconciler.gateway.providers.gemini import GEMINI
from reconciler.gateway.providers.openai import OPENAI
from reconciler.gateway.providers.openrouter import OPENROUTER

PROVIDERS: dict[str, Provider] = {provider.name: provider for provider in (OPENAI, ANTHROPIC, GEMINI, OPENROUTER)}

__all__ = ["PROVIDERS", "Provider"]
