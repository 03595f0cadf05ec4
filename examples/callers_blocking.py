"""One program in every caller's style; these are plain calls.

`callers_asyncio.py` and `callers_trio.py` differ from it in what they import and in their awaits.
"""

from __future__ import annotations

from codemode_client.blocking import CodeModeProvider, ModelTools, Toolbox
from codemode_protocol.values import WaitRequest, Yielded

CELSIUS = {"Oslo": 3, "Rome": 18, "Lima": 20}

toolbox = Toolbox()


@toolbox.tool
def weather(city: str) -> dict[str, object]:
    """The weather in a city, right now."""
    return {"city": city, "celsius": CELSIUS[city]}


@toolbox.tool
async def convert(celsius: float) -> float:
    """Degrees Fahrenheit."""
    return celsius * 9 / 5 + 32


def main() -> None:
    with CodeModeProvider() as provider, provider.session(toolbox) as session:
        # A script from its start to its end, in one call.
        result = session.run(
            """
            const reports = await Promise.all(["Oslo", "Rome"].map((city) => tools.weather({ city })));
            for (const { city, celsius } of reports) text(`${city}: ${await tools.convert({ celsius })} °F`);
            """
        )
        result.raise_for_error()
        print(result.text)

        # Step by step: the script says something, yields, and is waited for.
        cell = session.execute("text('one'); yield_control(); text('two');")
        response = cell.initial_response()
        print(response.text)
        while isinstance(response, Yielded):
            outcome = session.wait(WaitRequest(cell.cell_id, 10_000))
            response = outcome.response
            print(response.text)

        # As a model would have it run.
        model_tools = ModelTools(session, toolbox)
        output = model_tools.exec("text((await tools.weather({ city: 'Lima' })).celsius)")
        print(output.status)
        print(output.text.splitlines()[-1])


if __name__ == "__main__":
    main()
