"""`codemode conformance` finds nothing in our host, and the fault in every host that is wrong in one way."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from codemode_client._conformance import process
from codemode_protocol.testing import CONVERSATIONS, NoMessage
from tests.e2e.commands import ROOT, run_codemode, start_codemode
from tests.seed import one_in

HOST = [sys.executable, "-m", "codemode_host"]
ONE_IN = {"frames": 4}
"""Of a theme's conversations one in so many is tried in a run, or one in three; `make interop` tries them all."""


def theme(name: str) -> list[str]:
    """The options for its conversations."""
    names = [one.name for one in CONVERSATIONS if one.name.startswith(f"{name}/")]
    return [argument for one in one_in(ONE_IN.get(name, 3), names) or [name] for argument in ("--only", one)]


THEMES = list(dict.fromkeys(conversation.name.partition("/")[0] for conversation in CONVERSATIONS))


def judge(folder: Path, *arguments: str, host: list[str]) -> tuple[int, list[dict[str, Any]], str]:
    """The exit status, what was found in each conversation and in all, and standard error."""
    done = run_codemode(folder, "conformance", "--json", *arguments, "--", *host, timeout=140)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.mark.parametrize("name", [*THEMES, "random"])
def test_our_host_agrees(tmp_path: Path, name: str) -> None:
    # The answers themselves come in milliseconds; a busy machine takes its time to start a host.
    status, found, complaint = judge(tmp_path, *theme(name), "--timeout", "30", host=HOST)
    assert [one for one in found[:-1] if one["outcome"] != "ok"] == []
    assert (status, complaint) == (0, "")
    assert found[-1]["agrees"] is True
    assert list(tmp_path.iterdir()) == []  # Hypothesis has left nothing behind


@pytest.mark.parametrize(
    ("fault", "where", "came"),
    [
        ("wrong-version", "handshake/ready", '"selectedVersion": 2'),
        ("unasked-capability", "handshake/ready", '"capabilities": ["x"]'),
        ("wrong-id", "sessions/open-and-shut-down", '"id": 4711'),
        ("two-answers", "sessions/open-and-shut-down", "session/ready"),
        ("two-results", "cells/output-and-result", "initialResponse"),
        ("no-cell-closed", "cells/output-and-result", "nothing|exit status 0"),
        ("closed-twice", "cells/output-and-result", "cell/closed"),
        ("closed-too-early", "cells/output-and-result", "cell/closed"),
        ("answer-after-close", "cells/output-and-result", "initialResponse"),
        ("wrong-cell", "cells/output-and-result", '"cellId": "2"'),
        ("call-not-withdrawn", "calls/withdrawn-at-the-end", "initialResponse"),
        ("unknown-field", "cells/output-and-result", "no message of V1"),
        ("no-output", "cells/output-and-result", '"content_items": []'),
    ],
)
def test_a_host_that_is_wrong_in_one_way_is_found(tmp_path: Path, fault: str, where: str, came: str) -> None:
    host = [sys.executable, str(ROOT / "tests" / "e2e" / "tampering_host.py"), fault]
    status, found, _ = judge(tmp_path, "--only", where, "--timeout", "20", host=host)
    by_name = {one["name"]: one for one in found[:-1]}
    assert (status, found[-1]["agrees"]) == (1, False)
    assert by_name[where]["outcome"] == "differs"
    assert any(part in by_name[where]["came"] for part in came.split("|")), by_name[where]
    assert by_name[where]["transcript"][0].startswith("> ")


def test_the_random_part_finds_what_is_wrong_in_a_short_conversation_and_says_how_to_have_it_again(
    tmp_path: Path,
) -> None:
    host = [sys.executable, str(ROOT / "tests" / "e2e" / "tampering_host.py"), "closed-twice"]
    done = run_codemode(
        tmp_path, "conformance", "--only", "random", "--seed", "7", "--timeout", "30", "--", *host, timeout=140
    )
    assert done.returncode == 1
    assert "differs" in done.stdout
    assert "with seed 7" in done.stdout
    assert "cell/closed" in done.stdout


@pytest.mark.parametrize(
    ("program", "came"),
    [
        ("import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())", "nothing for 1 s"),
        ("import os; os.write(1, os.read(0, 9999)); os.read(0, 1)", "no message of V1"),
        ("", "the end of its output: exit status 0"),
        ("import sys; sys.exit('so sorry')", "exit status 1; on standard error:\nso sorry"),
        ("import time; time.sleep(1000)", "nothing for 1 s"),
        ("import signal; signal.signal(15, signal.SIG_IGN); import time; time.sleep(1000)", "nothing for 1 s"),
        ("import os; os.close(1); import time; time.sleep(1000)", "the end of its output: it still runs"),
        ("import os; os.kill(os.getpid(), 9)", "the end of its output: killed by SIGKILL"),
        ("print('Hello, I am a host')", "bytes that are no frame"),
        ("import os; os.write(1, bytes((5, 0, 0, 0)) + b'{')", "the end of its output inside a frame"),
        ("import os\nwhile True: os.write(1, b'y\\n' * 9999)", "bytes that are no frame"),
        ("import os\nwhile True: os.write(1, bytes(9999))", "no message of V1"),
        (
            "import os\nwhile True: os.write(1, b'\\xff\\xff\\xff\\3' + b'x' * 0x3ffffff)",
            "no message of V1|nothing for",
        ),
        ("import os\nwhile True: os.write(2, b'y\\n' * 9999)", "nothing for 1 s"),
    ],
)
def test_a_program_that_is_no_host_gives_a_report_and_is_gone(tmp_path: Path, program: str, came: str) -> None:
    marked = f"{program}\n# {tmp_path}"
    began = time.monotonic()
    status, found, complaint = judge(
        tmp_path, "--timeout", "1", "--only", "handshake", host=[sys.executable, "-c", marked]
    )
    assert time.monotonic() - began < 30
    assert (status, complaint) == (1, "")
    assert found[0]["outcome"] == "differs"
    assert any(part in found[0]["came"] for part in came.split("|")), found[0]
    assert {one["outcome"] for one in found[1:-1]} == {"not tried"}
    assert processes_with(str(tmp_path)) == []


def hosts_with(marker: str) -> list[str]:
    """Those that are a host, and neither the command, whose line has it, too, nor about to become something else."""
    found = []
    for name in processes_with(marker):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")[1] == b"-c":
                found.append(name)
    return found


def processes_with(marker: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace") if entry.name.isdigit() else ""
        except OSError:
            continue
        if marker in command:
            found.append(entry.name)
    return found


def test_a_host_whose_output_has_ended_is_not_waited_for_as_long_as_for_a_message(tmp_path: Path) -> None:
    host = [sys.executable, "-S", "-c", "import os, time; os.close(1); time.sleep(8); os._exit(3)"]
    _, found, _ = judge(tmp_path, "--only", "handshake/ready", "--timeout", "30", host=host)
    assert "the end of its output: it still runs" in found[0]["came"]


def test_a_host_that_never_stops_talking_is_given_up_at_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "MAX_OUTPUT_BYTES", 3 << 20)
    flood = "import os\nwhile True: os.write(1, (bytes((2, 0, 0, 0)) + b'{}') * 9999)"
    host = process.HostProcess([sys.executable, "-S", "-c", flood], 60)
    try:
        with pytest.raises(NoMessage, match=r"\Amore than 3 MiB\Z"):
            host.end()
    finally:
        host.close()


def test_what_a_host_has_started_is_gone_with_it(tmp_path: Path) -> None:
    child = f"import time; time.sleep(1000) # {tmp_path}"
    program = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}]); sys.stdin.read()"
    status, found, _ = judge(
        tmp_path, "--timeout", "1", "--only", "handshake/ready", host=[sys.executable, "-c", program]
    )
    assert (status, found[0]["outcome"]) == (1, "differs")
    assert processes_with(str(tmp_path)) == []


def test_a_host_that_often_keeps_silent_is_not_asked_for_ever(tmp_path: Path) -> None:
    # It passes the first conversation, and then says nothing but that.
    program = (
        "import sys; read = sys.stdin.buffer.read; n = int.from_bytes(read(4), 'little'); read(n)\n"
        'ready = b\'{"type":"connection/ready","selectedVersion":1,"capabilities":[]}\'\n'
        "sys.stdout.buffer.write(len(ready).to_bytes(4, 'little') + ready); sys.stdout.flush(); read()"
    )
    status, found, _ = judge(tmp_path, "--timeout", "1", host=[sys.executable, "-c", program])
    assert status == 1
    assert found[0]["outcome"] == "ok"
    reasons = [one["note"] for one in found[:-1] if one["outcome"] == "not tried"]
    assert len(reasons) > 50
    assert all("in vain" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        ([], 2, "there is no host to try"),
        (["--only", "nope", "--", "cat"], 2, "there is no conversation nope"),
        (["--timeout", "0", "--", "cat"], 2, "must be more than 0"),
        (["--seed", "x", "--", "cat"], 2, "invalid int value"),
        (["--", "/no/such/program"], 3, "'/no/such/program' cannot be run"),
        (["--only", "random", "--", "/no/such/program"], 3, "'/no/such/program' cannot be run"),
    ],
)
def test_what_cannot_be_tried_is_said_in_one_line(
    tmp_path: Path, arguments: list[str], status: int, complaint: str
) -> None:
    done = run_codemode(tmp_path, "conformance", *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_without_hypothesis_it_says_which_extra_is_missing_and_has_the_other_conversations(tmp_path: Path) -> None:
    (tmp_path / "hypothesis.py").write_text("raise ImportError('no')\n")
    path = f"{tmp_path}:{ROOT}"
    done = run_codemode(tmp_path, "conformance", "--", *HOST, PYTHONPATH=path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "codemode conformance: codemode_protocol.testing needs Hypothesis: pip install 'codemode-host[testing]'; "
        "--only with other conversations than `random` does without\n"
    )
    done = run_codemode(tmp_path, "conformance", "--only", "handshake/ready", "--", *HOST, PYTHONPATH=path)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_list_has_every_conversation_as_plain_data(tmp_path: Path) -> None:
    lines = run_codemode(tmp_path, "conformance", "--list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == [*(one.name for one in CONVERSATIONS), "random"]
    told = run_codemode(tmp_path, "conformance", "--list", "--json").stdout.splitlines()
    assert [json.loads(line) for line in told] == [json.loads(json.dumps(one.as_json())) for one in CONVERSATIONS]


def test_ctrl_c_leaves_no_host(tmp_path: Path) -> None:
    marked = f"import time; time.sleep(1000) # {tmp_path}"
    arguments = ["conformance", "--timeout", "100", "--", sys.executable, "-c", marked]
    with start_codemode(tmp_path, *arguments) as process:
        while not hosts_with(str(tmp_path)):
            assert process.poll() is None
            os.sched_yield()
        os.kill(process.pid, signal.SIGINT)
        _, complaint = process.communicate(timeout=20)
    assert (process.returncode, complaint) == (130, "interrupted\n")
    assert processes_with(str(tmp_path)) == []
