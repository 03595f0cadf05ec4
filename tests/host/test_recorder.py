"""Where a recording is written: to a file of its own, whatever is there already."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from codemode_host.serving import recorder
from codemode_host.serving.recorder import Recorder


def record(path: Path, said: bytes) -> None:
    writer = Recorder(str(path), "length")
    writer.said(said)
    writer.close()


def test_each_recording_has_a_new_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    path = tmp_path / "talk.rec"
    for number in range(3):
        record(path, b"%d" % number)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["talk.rec", "talk.rec.2", "talk.rec.3"]
    assert [(tmp_path / name).read_bytes()[-1:] for name in ("talk.rec", "talk.rec.2", "talk.rec.3")] == [
        b"0",
        b"1",
        b"2",
    ]
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_not_followed(tmp_path: Path, exists: bool) -> None:
    target = tmp_path / "target"
    if exists:
        target.write_bytes(b"kept")
    path = tmp_path / "talk.rec"
    path.symlink_to(target)
    record(path, b"x")
    assert target.exists() == exists
    assert not exists or target.read_bytes() == b"kept"
    assert (tmp_path / "talk.rec.2").read_bytes().endswith(b"x")


def test_a_folder_full_of_recordings_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "MAX_FILES", 3)
    record(tmp_path / "talk.rec", b"")
    record(tmp_path / "talk.rec", b"")
    with pytest.raises(FileExistsError):
        record(tmp_path / "talk.rec", b"")
