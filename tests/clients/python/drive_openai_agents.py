"""OpenAI's agents SDK."""

from agents import Agent, Runner, function_tool
from driving import drive, joined, look


def agent(binding: str) -> Agent:
    """Give an agent that has the tool."""
    return Agent(name="robot", model=binding, tools=[function_tool(look)])


async def plain(binding: str) -> str:
    """Ask once."""
    return (await Runner.run(agent(binding), "hello")).final_output


async def tools(binding: str) -> str:
    """Ask so that the tool is called."""
    return (await Runner.run(agent(binding), "call the tool")).final_output


async def stream(binding: str) -> str:
    """Ask for a stream."""
    events = Runner.run_streamed(agent(binding), "hello").stream_events()
    raw = [event.data async for event in events if event.type == "raw_response_event"]
    return joined([data.delta for data in raw if data.type == "response.output_text.delta"])


drive(plain, tools, stream)
