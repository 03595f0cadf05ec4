from __future__ import annotations

from pathlib import Path

import pytest

from codemode_protocol.state import TRANSITIONS
from tools import draw_states


def test_the_diagrams_match_the_tables() -> None:
    assert draw_states.main(["--check"]) == 0


def test_a_page_that_does_not_match_fails_the_check_and_is_drawn_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "states.md"
    monkeypatch.setattr(draw_states, "PAGE", page)
    page.write_text(f"before\n{draw_states.BEGIN}\nold\n{draw_states.END}\nafter\n")
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
