"""`codemode replay`: show a recorded conversation between a client and a host, for debugging."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from codemode_client._cli.commands import ExitStatus, UsageError, arguments
from codemode_client._cli.console.streams import show

if TYPE_CHECKING:
    from codemode_protocol.recording import Recording

SUMMARY = "show a recorded conversation as a timed transcript"
DESCRIPTION = (
    "Show a conversation that `codemode-host --record FILE` wrote down: each message with its time and direction, and "
    "what is remarkable about it. The exit status is 0, or 2 when FILE is no recording."
)
EXAMPLE = "codemode run script.js --host 'codemode-host --record talk.rec'; codemode replay talk.rec"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the recording")
    parser.add_argument("--full", action="store_true", help="show messages whole, however long they are")
    arguments.add_json(parser, "print one JSON object a line: the recording, then each message, whole")


def run(options: argparse.Namespace) -> int:
    """Print the transcript and return the exit status."""
    from pathlib import Path

    from codemode_protocol.recording import DEFAULT_WIDTH, RecordingError, decode_recording, transcript

    try:
        recording = decode_recording(Path(options.file).read_bytes())
    except (OSError, RecordingError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"cannot show {options.file}: {reason}") from error
    if options.json:
        _print_json(recording)
        return ExitStatus.OK
    for line in transcript(recording, None if options.full else DEFAULT_WIDTH):
        show(line)
    return ExitStatus.OK


def _print_json(recording: Recording) -> None:
    from msgspec import Raw

    from codemode_client._cli.console.streams import write_json
    from codemode_protocol.messages import tag_of
    from codemode_protocol.recording import replay

    head = {"started_ns": recording.started_ns, "framing": recording.framing}
    write_json({**head, "pieces": len(recording.records), "truncated": recording.truncated})
    for entry in replay(recording):
        line: dict[str, object] = {
            "elapsed_ns": entry.elapsed_ns,
            "direction": entry.direction.name.lower(),
            "type": None if entry.message is None else tag_of(entry.message),
            "note": entry.note,
        }
        if entry.message is not None and entry.payload is not None:
            line["message"] = Raw(entry.payload)
        elif entry.payload is not None:  # it may be any bytes
            line["text"] = bytes(entry.payload).decode("utf-8", "backslashreplace")
        write_json(line)
