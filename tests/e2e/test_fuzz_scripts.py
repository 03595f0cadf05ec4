"""Nothing that JavaScript alone does ends the host, keeps others waiting, or keeps memory."""

from __future__ import annotations

import logging
import os
import random

import pytest

from codemode_client import CodeModeProvider
from codemode_protocol.values import InputText
from tests.client.recorder import Recorder
from tests.e2e.fuzzing.campaign import HOST, Campaign, fails
from tests.e2e.fuzzing.corpus import CORPUS
from tests.e2e.fuzzing.scripts import TABLES, Composer, Piece, smallest
from tests.seed import SEED

SCRIPTS = int(os.environ.get("CODEMODE_FUZZ_SCRIPTS", "10000"))
A_FEW = 36


@pytest.fixture(autouse=True)
def no_log(caplog: pytest.LogCaptureFixture) -> None:
    """Keep what its tools raise out of the log: half a surrogate pair cannot be reported."""
    caplog.set_level(logging.CRITICAL, "codemode_client")


STATEMENTS = ("language", "helpers", "exhaustions", "wrappers")


async def campaign(*flags: str, scripts: int, script_seconds: float) -> None:
    campaign = Campaign([*HOST, *flags], SEED, range(scripts), script_seconds=script_seconds)
    await campaign.run()
    for ending, count in campaign.endings.most_common():
        print(f"{count:6} {ending!a}")
    # Half a surrogate pair cannot be reported.
    assert not campaign.findings, "\n\n".join(campaign.findings).encode(errors="backslashreplace").decode()
    assert campaign.done == scripts


@pytest.mark.loops("asyncio")
@pytest.mark.time_limit(140)
async def test_a_few_composed_scripts_harm_themselves_alone() -> None:
    await campaign("--memory-mib", "64", scripts=A_FEW, script_seconds=0.2)


@pytest.mark.fuzz
@pytest.mark.loops("asyncio")
@pytest.mark.time_limit(24 * 60 * 60)
@pytest.mark.parametrize("flags", [("--memory-mib", "64"), ()], ids=["64 MiB", "default"])
async def test_many_composed_scripts_harm_themselves_alone(flags: tuple[str, ...]) -> None:
    await campaign(*flags, scripts=SCRIPTS, script_seconds=1.0)


@pytest.mark.loops("asyncio")
@pytest.mark.parametrize("what", CORPUS)
async def test_a_script_that_once_did_harm_does_none(what: str) -> None:
    assert await fails([*HOST, "--memory-mib", "64"], CORPUS[what]) is None


# The composer


@pytest.mark.parametrize("table", STATEMENTS)
async def test_every_fragment_compiles(table: str) -> None:
    composer = Composer(SEED, 0)
    source = "\n".join(f"if (false) {{ {composer.fill(template)} }}" for template in TABLES[table]) + "\ntext(1);"
    async with CodeModeProvider([*HOST]) as provider, provider.session(Recorder()) as session:
        response = await session.run(source)
    assert (response.content_items, response.error_text) == ([InputText("1")], None)


def test_a_seed_and_a_number_make_the_same_script_again() -> None:
    numbers = random.Random(SEED).sample(range(10_000), 20)
    scripts = [str(Composer(SEED, number).script()) for number in numbers]
    assert scripts == [str(Composer(SEED, number).script()) for number in numbers]
    assert len(set(scripts)) > len(scripts) // 2  # short ones may be composed twice
    assert "«" not in "".join(scripts)


async def test_what_a_failure_does_not_need_is_dropped() -> None:
    def statement(*parts: str | Piece) -> Piece:
        return Piece([*parts], statement=True)

    value = Piece(["(5 + 5)"], statement=False)
    script = statement(
        statement("a();"), statement("try { ", statement("bad(", value, ");"), " } catch {}"), statement("b();")
    )

    async def still_fails(source: str) -> bool:
        return "bad(" in source

    assert await smallest(script, still_fails) == "try { bad(0); } catch {}"
