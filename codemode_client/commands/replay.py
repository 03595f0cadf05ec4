"""`codemode replay`: what was said between a client and a host, to find out what happened."""

from __future__ import annotations

import argparse

from codemode_client.commands import ExitStatus, UsageError

SUMMARY = "show a recorded conversation as a timed transcript"
DESCRIPTION = (
    "Show a conversation that `codemode-host --record FILE` wrote down: each message with its time and direction, and "
    "what is remarkable about it. The exit status is 0, or 2 when FILE is no recording."
)
EXAMPLE = "codemode run script.js --host 'codemode-host --record talk.rec'; codemode replay talk.rec"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the recording")
    parser.add_argument("--full", action="store_true", help="show messages whole, however long they are")


def run(options: argparse.Namespace) -> int:
    """Print the transcript; returns the exit status."""
    import sys
    from pathlib import Path

    from codemode_protocol.recording import DEFAULT_WIDTH, RecordingError, decode_recording, transcript

    try:
        recording = decode_recording(Path(options.file).read_bytes())
    except (OSError, RecordingError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"cannot show {options.file}: {reason}") from error
    for line in transcript(recording, None if options.full else DEFAULT_WIDTH):
        sys.stdout.write(line + "\n")
    return ExitStatus.OK
