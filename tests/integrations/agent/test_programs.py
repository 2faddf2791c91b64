import shutil
from pathlib import Path

import pytest

from integrations.agent import claude, codex, programs

TRUE = shutil.which("true")
assert TRUE is not None


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def program(path: Path) -> Path:
    """A native binary: every host has one to copy."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert TRUE is not None
    shutil.copy(TRUE, path)
    return path


def test_the_binary_behind_a_wrapper_is_found_beside_its_package(tmp_path: Path) -> None:
    wrapper = script(tmp_path / "node_modules/@vendor/tool/bin/tool.js", "exit 1")
    binary = program(tmp_path / "node_modules/@vendor/tool-linux-x64/vendor/any-triple/bin/tool")
    program(tmp_path / "node_modules/@vendor/tool-linux-arm64/vendor/any-triple/bin/tool")
    link = tmp_path / "node_modules/.bin/tool"
    link.parent.mkdir()
    link.symlink_to(wrapper)
    assert programs.native(str(link), ["tool-linux-{arch}/vendor/*/bin/tool"]) == str(binary)


def test_a_wrapper_without_a_binary_is_used_itself(tmp_path: Path) -> None:
    wrapper = script(tmp_path / "tool", "exit 0")
    script(tmp_path / "tool-linux-x64/tool", "not a binary")
    assert programs.native(str(wrapper), ["tool-linux-{arch}/tool"]) == str(wrapper)


def test_a_binary_is_used_itself(tmp_path: Path) -> None:
    link = tmp_path / "bin/tool"
    link.parent.mkdir()
    link.symlink_to(program(tmp_path / "tool-1.2.3"))
    assert programs.native(str(link), ["nowhere"]) == str(tmp_path / "tool-1.2.3")


def test_a_program_is_asked_once_for_each_version_of_its_file(tmp_path: Path) -> None:
    count = tmp_path / "count"
    answers = "case $1 in --version) echo tool-cli {};; *) echo ' --one, --two-three <x>  no--switch';; esac"
    tool = script(tmp_path / "tool", f"echo x >> {count}\n{answers.format('1.2.3')}")
    env = {"PATH": "/usr/bin:/bin"}
    first = programs.probe(str(tool), ("--help",), env)
    assert (first.version, first.switches) == ("1.2.3", frozenset({"--one", "--two-three"}))
    assert programs.probe(str(tool), ("--help",), env) is first
    assert count.read_text() == "x\nx\n"
    script(tool, answers.format("2.0.0-beta.1"))
    assert programs.probe(str(tool), ("--help",), env).version == "2.0.0-beta.1"


def test_a_program_that_does_not_answer_is_asked_again_next_time(tmp_path: Path) -> None:
    tool = script(tmp_path / "tool", "exit 3")
    env = {"PATH": "/usr/bin:/bin"}
    with pytest.raises(programs.NoAnswer, match=r"tool --version' fails .*: install it again"):
        programs.probe(str(tool), ("--help",), env)
    script(tool, "echo none")
    with pytest.raises(programs.NoAnswer, match="names no version, it says 'none'"):
        programs.probe(str(tool), ("--help",), env)
    with pytest.raises(programs.NoAnswer, match="cannot be read"):
        programs.probe(str(tmp_path / "gone"), ("--help",), env)
    script(tool, "echo 1.0.0")
    assert programs.probe(str(tool), ("--help",), env).version == "1.0.0"


@pytest.mark.parametrize(
    ("version", "verified"), [("2.1.328", True), ("2.99.0", True), ("3.0.0", False), ("1.0.9", False)]
)
def test_a_major_version_that_was_not_tested_is_marked(version: str, verified: bool) -> None:
    probe = programs.Probe(version, frozenset({"--json-schema", "--other"}))
    capability = probe.capability(claude.VERIFIED_MAJORS, ("--json-schema", "--max-budget-usd"))
    assert (capability.version, capability.verified, capability.flags) == (version, verified, ("--json-schema",))


def test_discovery_of_codex_says_what_is_missing(tmp_path: Path) -> None:
    backend = codex.CodexBackend()
    assert "not in the PATH" in backend.discover({"PATH": str(tmp_path)}).why_not
    tool = script(tmp_path / "codex", "echo codex-cli 0.169.0 --json --disable --sandbox")
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    assert "no key: set OPENAI_API_KEY" in backend.discover(env).why_not
    env["OPENAI_API_KEY"] = "k"
    assert "0.169.0 and does not know --ignore-user-config" in backend.discover(env).why_not
    script(tool, "echo codex-cli 1.0.0 --json --disable --sandbox --ignore-user-config --output-schema")
    found = backend.discover(env)
    assert (found.ready, found.version, found.capability.verified) == (True, "1.0.0", False)
    assert found.shown == "1.0.0 (unverified)"
    assert found.capability.flags == ("--output-schema",)
