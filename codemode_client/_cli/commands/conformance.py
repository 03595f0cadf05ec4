"""`codemode conformance`: whether a host does what wire protocol V1 says, and where it differs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from codemode_client._cli.commands import ExitStatus, UsageError, arguments

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from codemode_client._conformance.findings import Finding
    from codemode_protocol.testing import Conversation

SUMMARY = "say whether a host does what wire protocol V1 says, and where it differs"
DESCRIPTION = (
    "Have conversations with any host of wire protocol V1, each with a fresh one: those of the test kit, and some at "
    "random. Each line is ok, differs (with what was expected and what came) or not tried. The exit status is 0, 1 "
    "when the host differs, 2 when the command line is wrong, 3 when the host cannot be started, 130 after Ctrl-C."
)
EXAMPLE = "codemode conformance --only handshake/ready -- codemode-host"

_RANDOM = "random"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("command_words", metavar="COMMAND", nargs="*", help="the host program and its arguments")
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        help="a conversation, or all of a theme; may be given several times",
    )
    parser.add_argument("--list", action="store_true", help="list the conversations instead of having them")
    parser.add_argument(
        "--seed", type=int, metavar="N", help="makes the same random choices again (default: another each time)"
    )
    parser.add_argument(
        "--timeout",
        type=arguments.seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long the host has for each message, and to end (default: 10)",
    )
    arguments.add_json(parser, "print one JSON object a line: each conversation, and all in all")


def run(options: argparse.Namespace) -> int:
    """Have the conversations; returns the exit status."""
    import secrets

    from codemode_client._cli.console.streams import report, write_json
    from codemode_client._conformance.report import lines_of, summary
    from codemode_protocol.testing import CONVERSATIONS

    chosen, at_random = _choose(CONVERSATIONS, options.only)
    if options.list:
        _list(chosen, at_random, as_json=options.json)
        return ExitStatus.OK
    if not options.command_words:
        raise UsageError("there is no host to try: give its command, as in `codemode conformance -- codemode-host`")
    if at_random:
        _need_hypothesis()
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    width = max(len(name) for name in (*(one.name for one in chosen), _RANDOM))
    findings = []
    for finding in _findings(options, chosen, seed if at_random else None):
        findings.append(finding)
        if options.json:
            write_json(finding.as_json())
        else:
            for line in lines_of(finding, width):
                report(line)
    agrees = all(finding.outcome == "ok" for finding in findings)
    if options.json:
        write_json({"agrees": agrees, "seed": seed if at_random else None})
    else:
        report(summary(findings))
    return ExitStatus.OK if agrees else ExitStatus.SCRIPT_ERROR


def _need_hypothesis() -> None:
    try:
        import codemode_protocol.testing.host_machine  # noqa: F401
    except ImportError as error:
        raise UsageError(f"{error}; --only with other conversations than `{_RANDOM}` does without") from error


def _choose(conversations: Sequence[Conversation], only: Sequence[str] | None) -> tuple[list[Conversation], bool]:
    """Return which conversations are wanted, and whether those at random are."""
    if only is None:
        return list(conversations), True
    for name in only:
        if name != _RANDOM and not any(_is_named(conversation.name, name) for conversation in conversations):
            raise UsageError(f"there is no conversation {name}: --list shows all there are")
    chosen = [one for one in conversations if any(_is_named(one.name, name) for name in only)]
    return chosen, _RANDOM in only


def _is_named(conversation: str, name: str) -> bool:
    return name in (conversation, conversation.partition("/")[0])


def _list(conversations: Sequence[Conversation], at_random: bool, *, as_json: bool) -> None:
    from codemode_client._cli.console.streams import report, write_json

    if as_json:
        for conversation in conversations:
            write_json(conversation.as_json())
        return
    width = max(len(name) for name in (*(one.name for one in conversations), _RANDOM))
    for conversation in conversations:
        report(f"{conversation.name:<{width}}  {conversation.proves}")
    if at_random:
        report(f"{_RANDOM:<{width}}  conversations at random, which a model of the cells checks")


def _findings(
    options: argparse.Namespace, conversations: Sequence[Conversation], seed: int | None
) -> Iterator[Finding]:
    from codemode_client._conformance.conversations import Trial

    trial = Trial(options.command_words, options.timeout)
    yield from trial.converse(conversations)
    if seed is not None:
        from codemode_client._conformance.chance import converse_at_random

        yield converse_at_random(trial, seed)
