"""The formats of the channels between the host, the zygote and a cell's process.

Imported by all three, so it imports next to nothing. Two channels:

- the *control socket* between host and zygote: one fixed-size record per packet (`SOCK_SEQPACKET`), with the three
  descriptors of a new runtime attached to `FORK`;
- the *link* between host and cell: a pipe each way with a stream of `HEADER` + payload frames, and one mebibyte of
  *output memory* that both map. Text and images go through the memory, so that a cell's output survives when it is
  killed in a loop; every frame from a cell says how far the memory was written at that time.
"""

from __future__ import annotations

import resource
from struct import Struct

_PAGE_BYTES = resource.getpagesize()
MIB = 1024 * 1024

# ------------------------------------------------------------------------------------------------------ control socket

CONTROL = Struct("<Bqqqqq")
"""Kind, serial number of the runtime, and four values whose meaning depends on the kind."""

FORK = 1  # host → zygote: fork a runtime; [its end to read, its end to write, output memory] attached
FORK_DESCRIPTORS = Struct("@iii")
KILL = 2  # host → zygote: SIGKILL that runtime
READY = 3  # zygote → host: (flags of `READY_*`, pid of the zygote)
FORKED = 4  # zygote → host: (pid, private bytes that it has filled at the start, 0 if unknown)
EXITED = 5  # zygote → host: (wait status, peak resident bytes, processor time in µs, 1 if the host asked to kill it)
FORK_FAILED = 6  # zygote → host: (errno)

READY_SINGLE_THREADED = 1
READY_NATIVE_JOBS = 2
READY_NAMESPACES = 4  # it has no network, and its own shared memory and mounts
READY_UNPRIVILEGED = 8  # it has no capability, and is not root
READY_LANDLOCK = 16  # it cannot write files

# ------------------------------------------------------------------------------------------------ statuses of a runtime

EXIT_BROKEN = 70
"""A runtime has detected an internal error: an engine panic."""
EXIT_OUT_OF_MEMORY = 71
"""A runtime ran out of memory: its cell's limit."""
EXIT_REFUSED = 78
"""The zygote cannot provide what it promises on this machine; standard error says what."""

# ---------------------------------------------------------------------------------------------------------------- link

HEADER = Struct("<IBI")
"""Payload length in bytes, kind, END of the output memory at that time (0 from the host)."""

# cell → host
CALL = 1  # "SEQ INDEX JSON": a tool call; SEQ counts from 1
NOTIFY = 2  # text
YIELD = 3  # empty
FLUSH = 4  # empty: the output memory is full, the cell waits for FLUSHED
DONE = 5  # {"error": text or null, "stored": {key: JSON text}}

MAX_PAYLOADS = {
    CALL: 64 * MIB,  # a frame to the client has no room for more
    NOTIFY: 48 * MIB,
    YIELD: 0,
    FLUSH: 0,
    DONE: 96 * MIB,
}
"""The kinds of frame that a cell may send, and how long their payload may be, in bytes.

A cell's own code keeps to it, whatever its script does: a frame that does not breaks the link's rules, and so does one
that comes while none may come: before START, after DONE, or between FLUSH and FLUSHED."""

MAX_END_CHARACTERS = 64 * MIB
"""What JavaScript says at a script's end, as a string; as UTF-8 it may be longer."""

MAX_ERROR_TEXT = 1024 * 1024
"""UTF-16 units of a script's error text; what is longer is cut in the cell, which says by how much."""

# host → cell
START = 16  # START_LENGTHS, then source, tools and stored values
SETTLE = 17  # [[SEQ, ok, value or message], …]: answers to tool calls
FLUSHED = 18  # empty: the output memory has been read; start again at its beginning

START_LENGTHS = Struct("<III")

# ------------------------------------------------------------------------------------------------------- output memory

OUTPUT_BYTES = 1024 * 1024
OUTPUT_START = 8
"""Offset of the first record; before it are END (u32, little-endian), `STARTED`, and three unused bytes."""

STARTED = 4
"""Offset of a byte that is 1 once the script runs; output before that is from the rehearsal."""

RECORD_LENGTH_MASK = 0x0FFF_FFFF
RECORD_KIND_SHIFT = 28
RECORD_KIND_MASK = 0x7
RECORD_MORE = 0x8000_0000

NO_PIECE_BELOW = 4096
"""An item that does not fit is only split if this much room is left; else the memory is flushed first."""

MAX_RECORDS = 8192
"""So many records are written before the memory is emptied, however short they are."""

TEXT_LATIN1, TEXT_UTF16, IMAGE_LATIN1, IMAGE_UTF16, AUDIO_LATIN1, AUDIO_UTF16 = range(6)


def filled_bytes(pid: int | str) -> int:
    """Return the private memory that a process has filled, in bytes; 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb", 0) as file:
            _, resident, shared, *_ = file.read().split()
    except (OSError, ValueError):
        return 0
    return (int(resident) - int(shared)) * _PAGE_BYTES
