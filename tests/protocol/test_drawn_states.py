from __future__ import annotations

from pathlib import Path

import pytest

from codemode_client._session import driver, host_session
from codemode_host.cells import cell_states
from codemode_protocol.state import TRANSITIONS
from tools import draw_states


def test_the_diagrams_match_the_tables() -> None:
    assert draw_states.main(["--check"]) == 0


def test_a_page_that_does_not_match_fails_the_check_and_is_drawn_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "states.md"
    monkeypatch.setattr(draw_states, "PAGE", page)
    own = f"{draw_states.OWN_BEGIN}\nold\n{draw_states.OWN_END}"
    page.write_text(f"before\n{draw_states.BEGIN}\nold\n{draw_states.END}\n{own}\nafter\n")
    assert draw_states.main(["--check"]) == 1
    assert "does not match" in capsys.readouterr().out
    assert "old" in page.read_text()
    assert draw_states.main([]) == 0
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("after\n")
    assert "old" not in page.read_text()
    assert draw_states.main(["--check"]) == 0


def test_a_page_without_markers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "states.md"
    page.write_text("nothing here")
    monkeypatch.setattr(draw_states, "PAGE", page)
    with pytest.raises(SystemExit, match="lost its markers"):
        draw_states.main([])


def test_every_transition_of_every_table_is_drawn() -> None:
    drawn = draw_states.draw()
    for machines in TRANSITIONS.values():
        for table in machines.values():
            for state, row in table.items():
                assert f"| **{state.value}** |" in drawn
                for following in row.values():
                    assert f"    {state.value} --> {following.value}: " in drawn


def test_every_transition_of_the_host_s_and_the_client_s_own_tables_is_drawn() -> None:
    drawn = draw_states.draw_own()
    for state, row in cell_states.TRANSITIONS.items():
        assert f"| **{state.value}** |" in drawn
        for following in row.values():
            assert f"    {state.value} --> {following.value}: " in drawn
    for table in (driver.TRANSITIONS, host_session.TRANSITIONS):
        for before, followers in table.items():
            for after in followers:
                assert f"    {before.value} --> {after.value}\n" in drawn
