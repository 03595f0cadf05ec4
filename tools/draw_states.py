"""Draw the tables of states into docs/states.md, between its markers.

The protocol's are drawn from codemode_protocol/state.py, the host's and the client's own from where they stand.

Run it after changing a table: `python tools/draw_states.py`. With `--check` it changes nothing and fails when the
page does not match the tables.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from codemode_client._session import driver, host_session
from codemode_host.cells import cell_states
from codemode_protocol.state import TRANSITIONS, Machine, Role

PAGE = Path(__file__).resolve().parent.parent / "docs" / "states.md"
BEGIN = "<!-- drawn from codemode_protocol/state.py by tools/draw_states.py: begin -->"
END = "<!-- drawn from codemode_protocol/state.py by tools/draw_states.py: end -->"
OWN_BEGIN = "<!-- drawn from the host's and the client's own tables by tools/draw_states.py: begin -->"
OWN_END = "<!-- drawn from the host's and the client's own tables by tools/draw_states.py: end -->"

# States and events of any kind: all are drawn alike.
Table = Mapping[Any, Mapping[Any, Enum]]
Successors = Mapping[Any, frozenset[Any]]

TITLES: dict[Machine, str] = {
    Machine.CONNECTION: "The connection",
    Machine.SESSION: "A session",
    Machine.CELL: "A cell",
    Machine.OPEN: "A request: session/open",
    Machine.EXECUTE: "A request: session/execute",
    Machine.WAIT: "A request: session/wait",
    Machine.TERMINATE: "A request: session/terminate",
    Machine.SHUTDOWN: "A request: session/shutdown",
    Machine.TOOL_CALL: "A delegate call: tool/invoke",
    Machine.NOTIFICATION: "A delegate call: notification/send",
}


def table_of(role: Role, machine: Machine) -> Table:
    return TRANSITIONS[role][machine]


def diagram(table: Table) -> list[str]:
    """Draw a table as a Mermaid diagram: the first state is the initial one, states without successors are final."""
    states = list(table)
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {states[0].value}"]
    for state, row in table.items():
        labels: dict[Enum, list[str]] = {}
        for event, following in row.items():
            labels.setdefault(following, []).append(event.value)
        lines += [f"    {state.value} --> {to.value}: {', '.join(names)}" for to, names in labels.items()]
        if set(row.values()) <= {state}:
            lines.append(f"    {state.value} --> [*]")
    return [*lines, "```"]


def successors(table: Successors) -> list[str]:
    """Draw a table that has only which state may follow which, as a Mermaid diagram."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {next(iter(table)).value}"]
    for state, following in table.items():
        lines += [f"    {state.value} --> {to.value}" for to in type(state) if to in following]
        if not following:
            lines.append(f"    {state.value} --> [*]")
    return [*lines, "```"]


def grid(table: Table) -> list[str]:
    """Draw a table with a row for each state, a column for each event; an empty field is a violation."""
    events: dict[Enum, None] = {}
    for event in type(next(event for row in table.values() for event in row)):
        if any(event in row for row in table.values()):
            events[event] = None
    lines = [
        "| state | " + " | ".join(event.value for event in events) + " |",
        "|---" * (len(events) + 1) + "|",
    ]
    for state, row in table.items():
        fields = [row[event].value if event in row else "" for event in events]
        lines.append(f"| **{state.value}** | " + " | ".join(fields) + " |")
    return lines


def section(machines: list[Machine]) -> list[str]:
    """Machines with the same tables, drawn once; the two roles apart where they differ."""
    titles = [TITLES[machines[0]], *(machine.value for machine in machines[1:])]
    lines = [f"### {', '.join(titles)}", ""]
    client, host = (table_of(role, machines[0]) for role in (Role.CLIENT, Role.HOST))
    drawings = (
        [("", client)] if client == host else [("As the client sees it:", client), ("As the host sees it:", host)]
    )
    for heading, table in drawings:
        lines += [heading, ""] if heading else []
        lines += [*diagram(table), "", *grid(table), ""]
    return lines


def draw() -> str:
    """Return the text between the markers."""
    groups: list[list[Machine]] = []
    for machine in Machine:
        for group in groups:
            if all(table_of(role, machine) == table_of(role, group[0]) for role in Role):
                group.append(machine)
                break
        else:
            groups.append([machine])
    return "\n".join(line for group in groups for line in section(group)).rstrip("\n")


def draw_own() -> str:
    """Draw the tables that are the host's and the client's own."""
    cell = cell_states.TRANSITIONS
    lines = ["### A cell, in the host: codemode_host/cells/cell_states.py", "", *diagram(cell), "", *grid(cell), ""]
    lines += [
        "### A host process, in the client: codemode_client/_session/driver.py",
        "",
        *successors(driver.TRANSITIONS),
        "",
    ]
    lines += ["### A session on one host, in the client: codemode_client/_session/host_session.py", ""]
    return "\n".join([*lines, *successors(host_session.TRANSITIONS)])


def redraw(page: str) -> str:
    """Return the page with the text between its markers replaced."""
    page = _replace(page, BEGIN, END, draw())
    return _replace(page, OWN_BEGIN, OWN_END, draw_own())


def _replace(page: str, begin: str, end: str, drawn: str) -> str:
    before, begun, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not begun or not ended:
        raise SystemExit(f"{PAGE.name} has lost its markers:\n{begin}\n{end}")
    return f"{before}{begin}\n\n{drawn}\n\n{end}{after}"


def main(arguments: list[str]) -> int:
    page = PAGE.read_text(encoding="utf-8")
    drawn = redraw(page)
    if drawn == page:
        return 0
    if arguments == ["--check"]:
        print(f"{PAGE.name} does not match the tables: run python tools/draw_states.py")
        return 1
    PAGE.write_text(drawn, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
