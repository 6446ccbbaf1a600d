"""pydantic-ai's agents."""

from driving import KIND, drive, joined, look
from pydantic_ai import Agent


def agent(binding: str) -> Agent:
    """Give an agent that has the tool."""
    return Agent(f"{KIND}:{binding}", tools=[look])


async def plain(binding: str) -> str:
    """Ask once."""
    return (await agent(binding).run("hello")).output


async def tools(binding: str) -> str:
    """Ask so that the tool is called."""
    return (await agent(binding).run("call the tool")).output


async def stream(binding: str) -> str:
    """Ask for a stream."""
    async with agent(binding).run_stream("hello") as answer:
        return joined([piece async for piece in answer.stream_text(delta=True, debounce_by=None)])


drive(plain, tools, stream)
