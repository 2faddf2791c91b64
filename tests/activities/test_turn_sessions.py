"""A conversation's archive, with a home and an archive that an agent has prepared against its host."""

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from activities import turn_sessions
from domain import errors


@pytest.fixture
def homes(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("one", "two", "outside"):
        (tmp_path / name).mkdir()
    (tmp_path / "outside" / "secret").write_text("the host's own")
    return tmp_path / "one", tmp_path / "two"


def _archive(fill: Callable[[tarfile.TarFile], None]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        fill(archive)
    return target.getvalue()


def _file(name: str, data: bytes = b"x", **more: object) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    for key, value in more.items():
        setattr(entry, key, value)
    return _archive(lambda archive: archive.addfile(entry, io.BytesIO(data)))


def test_files_come_out_as_they_went_in(homes: tuple[Path, Path]) -> None:
    one, two = homes
    names = [".claude/projects/-srv-w/s.jsonl", ".claude/projects/-srv-w/s/part.jsonl"]
    for name in names:
        (one / name).parent.mkdir(parents=True, exist_ok=True)
        (one / name).write_text(f"{name}\n" * 1000)
    (one / ".claude" / "credentials").write_text("not asked for")
    data = turn_sessions.pack(one, [one / name for name in names])
    assert turn_sessions.unpack(data, two, cwd=Path("/srv/w"), packed_cwd="/srv/w") == 2
    assert all((two / name).read_bytes() == (one / name).read_bytes() for name in names)
    assert not (two / ".claude" / "credentials").exists()
    assert (two / names[0]).stat().st_mode & 0o777 == 0o600


def test_what_is_there_is_replaced(homes: tuple[Path, Path]) -> None:
    one, two = homes
    (one / "s.jsonl").write_text("newer")
    (two / "s.jsonl").write_text("older and longer")
    turn_sessions.unpack(turn_sessions.pack(one, [one / "s.jsonl"]), two, cwd=two)
    assert (two / "s.jsonl").read_text() == "newer"


def test_a_folder_named_after_the_old_directory_is_named_after_the_new_one(homes: tuple[Path, Path]) -> None:
    one, two = homes
    (one / "projects" / "-old-state-repo").mkdir(parents=True)
    (one / "projects" / "-old-state-repo" / "s.jsonl").write_text("s")
    data = turn_sessions.pack(one, [one / "projects" / "-old-state-repo" / "s.jsonl"])
    turn_sessions.unpack(data, two, cwd=Path("/new/state/repo"), packed_cwd="/old/state/repo")
    assert (two / "projects" / "-new-state-repo" / "s.jsonl").read_text() == "s"


def test_a_link_in_the_home_is_not_followed_when_it_is_packed(homes: tuple[Path, Path]) -> None:
    """The worker reads with rights that the agent does not have."""
    one, two = homes
    (one / "file.jsonl").symlink_to(one.parent / "outside" / "secret")
    (one / "folder").symlink_to(one.parent / "outside")
    os.mkfifo(one / "pipe.jsonl")
    (one / "plain.jsonl").write_text("p")
    asked = [one / "file.jsonl", one / "folder" / "secret", one / "pipe.jsonl", one / "plain.jsonl", one / "none"]
    assert turn_sessions.unpack(turn_sessions.pack(one, asked), two, cwd=two) == 1
    assert [path.name for path in two.iterdir()] == ["plain.jsonl"]


def test_a_link_in_the_home_is_not_followed_when_it_is_unpacked(homes: tuple[Path, Path]) -> None:
    one, two = homes
    (two / "s.jsonl").symlink_to(one.parent / "outside" / "secret")
    (two / "folder").symlink_to(one.parent / "outside")
    turn_sessions.unpack(_file("s.jsonl", b"new"), two, cwd=two)
    assert (two / "s.jsonl").read_bytes() == b"new"
    assert not (two / "s.jsonl").is_symlink()
    with pytest.raises(errors.UnsafeWork):
        turn_sessions.unpack(_file("folder/secret", b"stolen"), two, cwd=two)
    assert (one.parent / "outside" / "secret").read_text() == "the host's own"


@pytest.mark.parametrize(
    "data",
    [
        _file("../escaped"),
        _file("/absolute"),
        _file("a/../../escaped"),
        _file("link", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        _file("hard", b"", type=tarfile.LNKTYPE, linkname="s.jsonl"),
        _file("device", b"", type=tarfile.CHRTYPE),
        _file("fifo", b"", type=tarfile.FIFOTYPE),
        b"not an archive",
        _file("s.jsonl", b"x" * 10_000)[:-40],
        b"",
    ],
    ids=["parent", "absolute", "inside-parent", "symlink", "hard-link", "device", "fifo", "noise", "cut", "empty"],
)
def test_a_crafted_archive_is_refused(homes: tuple[Path, Path], data: bytes) -> None:
    _, two = homes
    with pytest.raises(errors.UnsafeWork):
        turn_sessions.unpack(data, two, cwd=two)
    assert not (two.parent / "escaped").exists()
    assert not any(path.is_symlink() for path in two.rglob("*"))


def test_an_archive_that_unfolds_too_far_is_refused(homes: tuple[Path, Path]) -> None:
    one, two = homes
    small = turn_sessions.Limits(files=3, bytes=10_000)
    with pytest.raises(errors.UnsafeWork, match="10000 bytes"):
        turn_sessions.unpack(_file("bomb", b"\0" * 1_000_000), two, cwd=two, limits=small)
    (one / "big").write_bytes(b"\0" * 10_001)
    with pytest.raises(errors.UnsafeWork, match="10000 bytes"):
        turn_sessions.pack(one, [one / "big"], small)
    for number in range(5):
        (one / f"{number}.jsonl").write_text("x")
    with pytest.raises(errors.UnsafeWork, match="3 files"):
        turn_sessions.pack(one, list(one.glob("*.jsonl")), small)


def test_a_signature_tells_whether_a_file_has_changed(homes: tuple[Path, Path]) -> None:
    one, _ = homes
    assert turn_sessions.signature(one, [one / "none"]) == ""
    (one / "s.jsonl").write_text("one")
    first = turn_sessions.signature(one, [one / "s.jsonl"])
    assert turn_sessions.signature(one, [one / "s.jsonl"]) == first
    (one / "s.jsonl").write_text("other")
    assert turn_sessions.signature(one, [one / "s.jsonl"]) != first
