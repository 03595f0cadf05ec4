"""`codemode replay`: what was said between a client and a host, to find out what happened."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from codemode_protocol.recording import DEFAULT_WIDTH, RecordingError, decode_recording, transcript

from .cli import ExitStatus


def replay_command(options: argparse.Namespace) -> int:
    """Print the transcript; returns the exit status."""
    try:
        recording = decode_recording(Path(options.file).read_bytes())
    except (OSError, RecordingError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        sys.stderr.write(f"codemode replay: cannot show {options.file}: {reason}\n")
        return ExitStatus.USAGE
    try:
        for line in transcript(recording, None if options.full else DEFAULT_WIDTH):
            sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the transcript has had enough, and the interpreter must not try to flush the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitStatus.OK
