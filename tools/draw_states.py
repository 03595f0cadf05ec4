"""Draw the tables of codemode_protocol/state.py into docs/states.md, between its markers.

Run it after changing a table: `python tools/draw_states.py`. With `--check` it changes nothing and fails when the
page does not match the tables.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from codemode_protocol.state import TRANSITIONS, Event, Machine, Role, State

PAGE = Path(__file__).resolve().parent.parent / "docs" / "states.md"
BEGIN = "<!-- drawn from codemode_protocol/state.py by tools/draw_states.py: begin -->"
END = "<!-- drawn from codemode_protocol/state.py by tools/draw_states.py: end -->"

Table = Mapping[State, Mapping[Event, State]]

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
    # Each machine's states and events are of one kind; here all kinds are drawn alike.
    return TRANSITIONS[role][machine]  # type: ignore[return-value]


def diagram(table: Table) -> list[str]:
    """Draw a table as a Mermaid diagram: the first state is the initial one, states without successors are final."""
    states = list(table)
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {states[0].value}"]
    for state, row in table.items():
        labels: dict[State, list[str]] = {}
        for event, following in row.items():
            labels.setdefault(following, []).append(event.value)
        lines += [f"    {state.value} --> {to.value}: {', '.join(names)}" for to, names in labels.items()]
        if set(row.values()) <= {state}:
            lines.append(f"    {state.value} --> [*]")
    return [*lines, "```"]


def grid(table: Table) -> list[str]:
    """Draw a table with a row for each state and a column for each event; an empty field is a violation."""
    events: dict[Event, None] = {}
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


def redraw(page: str) -> str:
    """Return the page with the text between its markers replaced."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE.name} has lost its markers:\n{BEGIN}\n{END}")
    return f"{before}{BEGIN}\n\n{draw()}\n\n{END}{after}"


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
