"""`codemode` and `codemode-host` as a person runs them: real programs, real pipes, exit statuses."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.commands import CODEMODE, ROOT, TOOLS, make_environment, run_codemode, start_codemode
from tests.e2e.terminal import Terminal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mytools.py").write_text(TOOLS)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    return tmp_path


def host_command(*arguments: str) -> str:
    return " ".join([sys.executable, "-m", "codemode_host", *arguments])


def test_a_script_runs_and_its_output_is_shown(folder: Path) -> None:
    done = run_codemode(folder, "run", "-", stdin="text('hello'); text({ a: [1, 2] });")
    assert (done.returncode, done.stdout, done.stderr) == (0, 'hello\n{"a":[1,2]}\n', "")


def test_a_script_can_be_given_as_an_argument(folder: Path) -> None:
    done = run_codemode(folder, "run", "-e", "text(1); null.length")
    assert (done.returncode, done.stdout) == (1, "1\n")
    assert "<eval>:1:" in done.stderr


def test_a_file_is_run_with_its_pragma(folder: Path) -> None:
    (folder / "script.js").write_text('// @exec: {"yield_time_ms": 50}\ntext("from a file");\n')
    done = run_codemode(folder, "run", "script.js")
    assert (done.returncode, done.stdout) == (0, "from a file\n")


@pytest.mark.parametrize(
    ("spec", "source", "output"),
    [
        ("mytools:toolbox", "text(await tools.add({ a: 2, b: 3 }))", "5\n"),
        ("mytools:shout", "text(await tools.shout({ text: 'hey' }))", "HEY\n"),
        ("mytools:functions", "text(ALL_TOOLS)", '[{"name":"shout","description":"Say it louder."}]\n'),
    ],
)
def test_python_functions_are_tools(folder: Path, spec: str, source: str, output: str) -> None:
    done = run_codemode(folder, "run", "-", "--tools", spec, stdin=source)
    assert (done.returncode, done.stdout, done.stderr) == (0, output, "")


def test_a_failure_says_where_in_the_file_it_was(folder: Path) -> None:
    (folder / "broken.js").write_text('// @exec: {}\ntext("before");\n  null.length;\n')
    done = run_codemode(folder, "run", "broken.js")
    assert done.returncode == 1
    assert done.stdout == "before\n"
    assert "TypeError: " in done.stderr
    assert "broken.js:3:" in done.stderr
    assert "    3 |   null.length;\n" in done.stderr


def test_source_that_does_not_compile_is_a_script_error_with_its_place(folder: Path) -> None:
    done = run_codemode(folder, "run", "-", stdin="text(1);\nlet = ;\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert "SyntaxError: " in done.stderr
    assert "<stdin>:2:" in done.stderr


def test_a_notification_is_shown_apart_from_the_output(folder: Path) -> None:
    done = run_codemode(folder, "run", "-", stdin="notify('on my way'); text('done')")
    assert (done.stdout, done.stderr) == ("done\n", "[notification] on my way\n")


CONTROLS = "a\x1b]0;title\x07b\x9b2Jc"
WRITTEN_OUT = r"a\x1b]0;title\x07b\x9b2Jc"


def test_a_terminal_gets_control_characters_written_out_and_a_pipe_as_they_are(folder: Path) -> None:
    word = json.dumps(CONTROLS)
    source = f"text({word}); notify({word} + 2); throw {word} + 3"
    with Terminal([*CODEMODE, "run", "-e", source], cwd=folder, env=make_environment()) as terminal:
        assert terminal.end() == 1
        shown = terminal.raw.decode()
    assert [shown.count(WRITTEN_OUT + end) for end in ("\r", "2", "3")] == [1, 1, 1]
    assert not {"\x1b", "\x07", "\x9b"} & set(shown)
    done = run_codemode(folder, "run", "-e", source)
    assert (done.returncode, done.stdout) == (1, CONTROLS + "\n")
    # What is not the script's output is for people, wherever it goes.
    assert [done.stderr.count(WRITTEN_OUT + end) for end in ("2", "3")] == [1, 1]


@pytest.mark.parametrize("arguments", [["doctor", "--host"], ["conformance", "--only", "handshake/ready", "--"]])
def test_what_a_bad_host_writes_is_written_out_in_a_report(folder: Path, arguments: list[str]) -> None:
    (folder / "bad.py").write_text(f"import sys; sys.exit({CONTROLS!r})\n")
    words = [sys.executable, "bad.py"]
    done = run_codemode(folder, *arguments, *([shlex.join(words)] if "doctor" in arguments else words))
    assert done.returncode == 1
    assert WRITTEN_OUT in done.stdout
    assert not {"\x1b", "\x07", "\x9b"} & set(done.stdout)


def test_json_on_a_terminal_is_the_same_without_control_characters(folder: Path) -> None:
    source = f"text({json.dumps(CONTROLS)})"
    with Terminal([*CODEMODE, "run", "--json", "-e", source], cwd=folder, env=make_environment()) as terminal:
        assert terminal.end() == 0
        shown = terminal.raw.decode()
    assert not {"\x1b", "\x07", "\x9b"} & set(shown)
    assert json.loads(shown.splitlines()[0])["item"]["text"] == CONTROLS


def test_json_gives_one_object_a_line(folder: Path) -> None:
    source = "text('a'); notify('n'); yield_control(); image('data:image/png;base64,AA'); throw new Error('no')"
    done = run_codemode(folder, "run", "-", "--json", stdin=source)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert [event["type"] for event in events if event["type"] != "notification"] == ["output", "output", "result"]
    assert {"type": "notification", "text": "n"} in events
    assert events[-1]["error_text"].startswith("Error: no\n")


@pytest.mark.parametrize(
    ("arguments", "stdin", "complaint"),
    [
        (["run", "no-such-file.js"], "", "cannot read no-such-file.js"),
        (["run"], "", "FILE -e/--eval is required"),
        (["run", "-", "-e", "text(1)"], "", "not allowed with argument"),
        (["run", "-", "--tools", "broken:x"], "text(1)", "cannot import broken: ZeroDivisionError: division by zero"),
        (["run", "-", "--tools", "mytools"], "text(1)", "MODULE:OBJECT"),
        (["run", "-", "--tools", "nomodule:x"], "text(1)", "cannot import nomodule"),
        (["run", "-", "--tools", "mytools:missing"], "text(1)", "mytools has no missing"),
        (["run", "-", "--tools", "mytools:nothing"], "text(1)", "is no function"),
        (["run", "-"], "", "exec expects raw JavaScript"),
        (["run", "-"], '// @exec: {"nope": 1}\ntext(1)', "only supports"),
        (["run", "-", "--yield-ms", "-1"], "text(1)", "must not be negative"),
        (["run", "-", "--yield-ms", str(2**53)], "text(1)", "must not be more than 9007199254740991"),
        (["run", "-", "--host", "'"], "text(1)", "cannot be split into words"),
        (["run", "-", "--host", " "], "text(1)", "names no program"),
        (["replay", "no-such-file.rec"], "", "cannot show no-such-file.rec"),
        (["replay", "mytools.py"], "", "cannot show mytools.py"),
    ],
)
def test_what_cannot_be_done_is_a_usage_error_that_says_why(
    folder: Path, arguments: list[str], stdin: str, complaint: str
) -> None:
    done = run_codemode(folder, *arguments, stdin=stdin)
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("host", ["/no/such/program", "/bin/false"])
def test_a_host_that_cannot_start_is_a_host_failure(folder: Path, host: str) -> None:
    done = run_codemode(folder, "run", "-", "--host", host, stdin="text(1)")
    assert (done.returncode, done.stdout) == (3, "")
    assert "codemode run: " in done.stderr
    assert "Traceback" not in done.stderr


def test_help_waits_for_nothing_slow(folder: Path) -> None:
    probe = "import sys, codemode_client.cli as cli; cli.parser(); print(*{'trio', 'msgspec'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == []


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_reader_who_has_had_enough_ends_it_quietly(folder: Path, more: list[str]) -> None:
    (folder / "endless.js").write_text(
        "for (let i = 0; ; i++) { text(i); await new Promise((go) => setTimeout(go, 1)); }"
    )
    with start_codemode(folder, "run", "endless.js", "--yield-ms", "20", *more) as process:
        assert process.stdout is not None
        assert process.stdout.readline() != ""
        process.stdout.close()
        assert process.wait(timeout=20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_output_that_cannot_be_written_is_said_in_one_line(folder: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*CODEMODE, "run", "-e", "text(1)"],
            cwd=folder,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
            env=make_environment(),
        )
    assert (done.returncode, done.stderr) == (2, "codemode run: [Errno 28] No space left on device\n")


@pytest.mark.parametrize(
    ("line", "status", "complaint"),
    [
        ("run -e 'text(1)' >&-", 0, ""),
        ("run -e 'null.x' 2>&-", 1, ""),
        ("run -e 'text(1)' <&- >&2", 0, "1\n"),
        ("run - <&-", 2, "codemode run: cannot read standard input: it is closed\n"),
        ("repl <&-", 2, "codemode repl: cannot read standard input: it is closed\n"),
    ],
)
def test_streams_may_be_closed(folder: Path, line: str, status: int, complaint: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {line}', "sh", *CODEMODE],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=make_environment(),
    )
    assert (done.returncode, done.stderr) == (status, complaint)


def processes_mentioning(marker: str) -> list[str]:
    """The command lines of the live processes below this one's descendants that carry `marker`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if marker in command:
                found.append(command)
    return found


def test_ctrl_c_ends_the_cell_and_leaves_no_process(folder: Path) -> None:
    (folder / "loop.js").write_text("text('looping'); while (true) {}")
    recording = str(folder / "ctrl-c.rec")
    with start_codemode(folder, "run", "loop.js", "--host", host_command("--record", recording)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "looping\n"
        # To the whole foreground process group, as a terminal does it.
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert stderr == "interrupted: the cell was stopped\n"
    deadline = time.monotonic() + 5
    while (left := processes_mentioning(recording)) and time.monotonic() < deadline:
        os.sched_yield()
    assert left == []


def test_output_comes_while_the_script_runs(folder: Path) -> None:
    (folder / "slow.js").write_text("text('first'); await new Promise((done) => setTimeout(done, 30000)); text('last')")
    with start_codemode(folder, "run", "slow.js", "--yield-ms", "50") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "first\n"
        assert process.poll() is None


def test_a_recorded_conversation_is_replayed_as_a_transcript(folder: Path) -> None:
    done = run_codemode(
        folder,
        *["run", "-", "--tools", "mytools:toolbox", "--host", host_command("--record", "talk.rec")],
        stdin="text(await tools.add({ a: 20, b: 22 }))",
    )
    assert (done.returncode, done.stdout) == (0, "42\n")
    assert (folder / "talk.rec").stat().st_mode & 0o777 == 0o600
    shown = run_codemode(folder, "replay", "talk.rec")
    assert shown.returncode == 0
    lines = [line for line in shown.stdout.splitlines() if line[:1] == " " and "host" in line[:40]]
    kinds = [line.split("host", 1)[1].split()[0] for line in lines]
    assert kinds[:4] == ["connection/hello", "connection/ready", "operation/request", "operation/response"]
    assert "delegate/request" in kinds
    assert '"result":42' in shown.stdout
    assert run_codemode(folder, "replay", "talk.rec", "--full").returncode == 0
    told = [json.loads(line) for line in run_codemode(folder, "replay", "talk.rec", "--json").stdout.splitlines()]
    assert told[0]["framing"] == "length"
    assert [line["type"] for line in told[1:5]] == kinds[:4]
    assert {line["direction"] for line in told[1:]} == {"to_host", "to_client"}
    assert told[1]["message"]["type"] == "connection/hello"


def typed(*lines: str) -> subprocess.CompletedProcess[str]:
    """A session as somebody types it, with the answers awaited by the last line's end of input."""
    return subprocess.run(
        [sys.executable, "-m", "codemode_host", "--framing", "lines"],
        input="".join(line + "\n" for line in lines),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
    )


HELLO = '{"type":"connection/hello","supportedVersions":[1],"requiredCapabilities":[],"optionalCapabilities":[]}'


def test_a_session_can_be_typed_a_line_at_a_time() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "codemode_host", "--framing", "lines"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        cwd=ROOT,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None

        def say(line: str, answers: int) -> list[dict[str, object]]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(line + "\n")
            return [json.loads(process.stdout.readline()) for _ in range(answers)]

        assert say(HELLO, 1)[0]["type"] == "connection/ready"
        process.stdin.write("\n")  # an empty line is nothing
        opened = '{"type":"operation/request","id":1,"request":{"method":"session/open","sessionId":"s"}}'
        assert say(opened, 1)[0]["id"] == 1
        executed = (
            '{"type":"operation/request","id":2,"request":{"method":"session/execute","sessionId":"s","request":'
            '{"tool_call_id":"c","enabled_tools":[],"source":"text(6 * 7)"}}}'
        )
        started, result, closed = say(executed, 3)
        assert started["type"] == "operation/response"
        assert '"text": "42"' in json.dumps(result)
        assert closed == {"type": "cell/closed", "sessionId": "s", "cellId": "1"}
        process.stdin.close()
        assert process.stdout.read() == ""
        assert process.wait(timeout=20) == 0


def test_a_line_that_is_no_message_ends_the_host_with_one_clear_line() -> None:
    done = typed(HELLO, "this is not JSON")
    assert done.returncode == 1
    assert json.loads(done.stdout)["type"] == "connection/ready"
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("codemode-host: failed to decode")


def test_the_demo_runs_to_its_end() -> None:
    done = subprocess.run(
        [sys.executable, "examples/demo.py"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "both ways of counting the modules agree" in done.stdout
    assert "a tool error, caught: no/such/file.py is not there" in done.stdout
    assert "... cell 1 yielded" in done.stdout
    assert "[notification] read " in done.stdout


def test_a_script_has_the_callers_time_zone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    source = "text(new Date(0).getHours()); text(Intl.DateTimeFormat().resolvedOptions().timeZone)"
    assert run_codemode(folder, "run", "-", stdin=source).stdout == "9\nAsia/Tokyo\n"
