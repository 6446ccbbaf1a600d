"""What upstreams speak: one module a provider, one line here."""

from reconciler.providers.anthropic import ANTHROPIC
from reconciler.providers.gemini import GEMINI
from reconciler.providers.openai import OPENAI
from reconciler.providers.openrouter import OPENROUTER
from reconciler.providers.provider import Provider

PROVIDERS: dict[str, Provider] = {provider.name: provider for provider in (OPENAI, ANTHROPIC, GEMINI, OPENROUTER)}

__all__ = ["PROVIDERS"]
