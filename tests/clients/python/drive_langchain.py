"""LangChain's chat models."""

from driving import KIND, drive, joined, look
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool

LOOK = tool(look)


def model(binding: str) -> BaseChatModel:
    """Give the model; Google's retries whatever has the status 429 five times, unless told not to."""
    if KIND == "openai":
        from langchain_openai import ChatOpenAI

        return ChatOpenAI(model=binding)
    if KIND == "anthropic":
        from langchain_anthropic import ChatAnthropic

        return ChatAnthropic(model=binding)
    from langchain_google_genai import ChatGoogleGenerativeAI

    return ChatGoogleGenerativeAI(model=binding, max_retries=1)


def plain(binding: str) -> str:
    """Ask once."""
    return model(binding).invoke("hello").text


def tools(binding: str) -> str:
    """Ask, run the tool, tell what it found."""
    able = model(binding).bind_tools([LOOK])
    messages = [HumanMessage("call the tool")]
    answer = able.invoke(messages)
    (call,) = answer.tool_calls
    return able.invoke([*messages, answer, LOOK.invoke(call)]).text


def stream(binding: str) -> str:
    """Ask for a stream."""
    return joined([piece.text for piece in model(binding).stream("hello") if piece.text])


drive(plain, tools, stream)
