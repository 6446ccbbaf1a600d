"""LlamaIndex's models and its agent."""

from typing import Any

from driving import KIND, drive, joined, look
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage

HELLO = [ChatMessage("hello")]


def model(binding: str) -> Any:
    """Give the model."""
    if KIND == "openai":
        from llama_index.llms.openai import OpenAI

        return OpenAI(model=binding)
    if KIND == "responses":
        from llama_index.llms.openai import OpenAIResponses

        return OpenAIResponses(model=binding)
    if KIND == "anthropic":
        from llama_index.llms.anthropic import Anthropic

        return Anthropic(model=binding)
    from llama_index.llms.google_genai import GoogleGenAI

    return GoogleGenAI(model=binding)


async def plain(binding: str) -> str:
    """Ask once."""
    return (await model(binding).achat(HELLO)).message.content


async def tools(binding: str) -> str:
    """Ask so that the tool is called."""
    return str(await FunctionAgent(tools=[look], llm=model(binding), streaming=False).run("call the tool"))


async def stream(binding: str) -> str:
    """Ask for a stream."""
    pieces = await model(binding).astream_chat(HELLO)
    return joined([piece.delta async for piece in pieces if piece.delta])


drive(plain, tools, stream)
