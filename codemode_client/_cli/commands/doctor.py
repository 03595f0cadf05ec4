"""`codemode doctor`: what works on this machine, and what to do about what does not."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from codemode_client._cli.commands import ExitStatus, arguments

if TYPE_CHECKING:
    from collections.abc import Iterator

SUMMARY = "say what works on this machine, and what to do about what does not"
DESCRIPTION = (
    "Look at the machine and try what cells rely on. Each line is ok, info (something optional is not there), warn (it "
    "works, but not well) or fail. The exit status is 0, 1 when something that is necessary fails, 2 when the command "
    "line is wrong."
)
EXAMPLE = "codemode doctor"


def configure(parser: argparse.ArgumentParser) -> None:
    arguments.add_json(parser, "print one JSON object with all that was found")
    arguments.add_host(parser)


def run(options: argparse.Namespace) -> int:
    """Print each finding as soon as it is known, and return the exit status."""
    import dataclasses
    import json
    import sys
    from itertools import chain

    from codemode_client._cli.console.diagnosis import Finding, look
    from codemode_client._cli.console.streams import report

    def try_host() -> Iterator[Finding]:
        # A missing package may make this import fail.
        try:
            from codemode_client._cli.console.trial import try_host
        except ImportError as error:
            yield Finding("cells", "fail", f"the client cannot be imported: {error}", "install what is said to fail")
        else:
            yield from try_host(options.host or [sys.executable, "-m", "codemode_host"])

    findings = []
    for finding in chain(look(), try_host()):
        findings.append(finding)
        if not options.json:
            report(f"{finding.status:<4}  {finding.name:<14}  {finding.found}")
            if finding.remedy is not None:
                report(f"{'':22}{finding.remedy}")
    failed = any(finding.status == "fail" for finding in findings)
    if options.json:
        told = {"ok": not failed, "findings": [dataclasses.asdict(finding) for finding in findings]}
        sys.stdout.write(json.dumps(told) + "\n")
    return ExitStatus.SCRIPT_ERROR if failed else ExitStatus.OK
