"""`python -m codegraph`: one question, one JSON object, whatever comes on standard input; and nothing else of ours."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
from typing import Any

import pytest

import codegraph
from tests.codegraph import lab, shop

_PACKAGE = pathlib.Path(codegraph.__file__).parent


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder that holds this package and nothing else of ours."""
    folder = tmp_path_factory.mktemp("alone")
    shutil.copytree(_PACKAGE, folder / "codegraph", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The shop."""
    folder = tmp_path_factory.mktemp("shop")
    shop.build(folder)
    return folder


def _ask(
    alone: pathlib.Path, *words: str, stdin: str | bytes = b"", **environment: str
) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-m", "codegraph", *words],
        cwd=alone,
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        env={**os.environ, "PYTHONPATH": "", **environment},
        capture_output=True,
        timeout=50,
    )


def _answer(alone: pathlib.Path, *words: str, stdin: str | bytes = b"") -> Any:
    ended = _ask(alone, *words, stdin=stdin)
    assert ended.returncode == 0, ended.stderr.decode() + ended.stdout.decode()
    assert ended.stderr == b""
    return json.loads(ended.stdout)


def test_a_text_is_located_and_mapped(alone: pathlib.Path, at: pathlib.Path) -> None:
    found = _answer(alone, "locate", "--repo", str(at), "--most", "2", stdin="Send the invoice by mail")
    assert found["files"][0]["path"] == "src/shop/mail.py"
    assert len(found["files"]) == 2
    assert "tests/test_mail.py" in found["tests"]
    assert found["rev"] == lab.git(at, "rev-parse", "main")
    drawn = _answer(alone, "map", "--repo", str(at), "--budget", "120", stdin="Send the invoice by mail")
    assert drawn["map"].startswith("src/shop/mail.py")
    assert drawn["tokens"] <= 120


def test_every_answer_says_what_it_rests_on(alone: pathlib.Path, at: pathlib.Path) -> None:
    inputs = {"conflict": '["a mail", "a total"]', "frames": "[]", "locate": "mail", "map": "mail"}
    for command in ("stats", "locate", "map", "blast", "frames", "conflict"):
        found = _answer(alone, command, "--repo", str(at), stdin=inputs.get(command, ""))
        assert (found["commits"], found["shallow"], found["problem"], found["missing_grammars"]) == (5, False, "", {})


def test_a_change_is_given_as_two_commits_or_as_a_diff(alone: pathlib.Path, at: pathlib.Path) -> None:
    commits = _answer(alone, "blast", "--repo", str(at), "--base", "main~2", "--head", "main~1")
    diff = lab.git(at, "diff", "main~2", "main~1")
    given = _answer(alone, "blast", "--repo", str(at), "--rev", "main~2", stdin=diff)
    assert commits == given
    assert {each["path"] for each in commits["changed"]} == {
        "src/shop/totals.py",
        "src/shop/money.py",
        "tests/test_totals.py",
    }
    assert "src/shop/views.py" in commits["ranked"]


def test_frames_and_conflicts_come_as_json(alone: pathlib.Path, at: pathlib.Path) -> None:
    event = {"frames": [{"filename": "/app/src/shop/views.py", "function": "login", "lineno": 99}]}
    found = _answer(alone, "frames", "--repo", str(at), stdin=json.dumps(event))
    assert found["suspects"][0]["path"] == "src/shop/views.py"
    assert found["suspects"][0]["places"][0]["symbol"] == "login"
    texts = ["Round the total once", "Round the total of the discount", "Ask for a longer password at login"]
    first, second = _answer(alone, "conflict", "--repo", str(at), stdin=json.dumps(texts))["clashes"]
    assert first["probability"] > second["probability"]


def test_a_text_is_compared_with_the_work_on_running_branches(alone: pathlib.Path, tmp_path: pathlib.Path) -> None:
    more = b"\n\ndef more():\n    return 1\n"
    mail = lab.Commit({b"src/shop/mail.py": shop.MAIL + more}, parents=[0], branch="mail")
    total = lab.Commit({b"src/shop/totals.py": shop.TOTALS + more}, parents=[0], branch="total")
    base, *heads = lab.make(tmp_path, [lab.Commit(shop.FILES), mail, total])
    asked = (
        "conflict",
        "--repo",
        str(tmp_path),
        "--rev",
        base,
        *(word for head in heads for word in ("--branch", head)),
    )
    found = _answer(alone, *asked, stdin=json.dumps(["Send the invoice by mail"]))
    assert found["clashes"] == []
    first, second = found["branches"]
    assert (first["branch"], first["files"][0][0]) == (heads[0], "src/shop/mail.py")
    assert first["probability"] > second["probability"]


@pytest.mark.parametrize(
    ("words", "stdin", "kind", "sentence"),
    [
        (("stats", "--rev", "nope"), "", "NoSuchRevision", "'nope' is no commit"),
        (("stats", "--repo", "/nowhere"), "", "NotARepository", "/nowhere is no git repository"),
        (("conflict",), '["one"]', "Refused", "a JSON list of two or more texts"),
        (("conflict", "--branch", "HEAD"), "[]", "Refused", "a JSON list of one text or more"),
        (("conflict",), "no json", "Refused", "is no JSON"),
        (("frames",), "[" * 100_000, "Refused", "is no JSON"),
    ],
)
def test_what_cannot_be_answered_is_said_in_json(
    alone: pathlib.Path, at: pathlib.Path, words: tuple[str, ...], stdin: str, kind: str, sentence: str
) -> None:
    ended = _ask(alone, *words, *(() if "--repo" in words else ("--repo", str(at))), stdin=stdin)
    assert (ended.returncode, ended.stderr) == (1, b"")
    found = json.loads(ended.stdout)
    assert found["kind"] == kind
    assert sentence in found["error"]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--most", "-5"),
        ("--most", "0"),
        ("--most", "1001"),
        ("--budget", "x"),
        ("--workers", "-1"),
        ("--workers", "1e3"),
    ],
)
def test_a_number_that_no_answer_can_have_is_refused_in_words(alone: pathlib.Path, option: str, value: str) -> None:
    ended = _ask(alone, "locate", option, value)
    assert (ended.returncode, ended.stdout) == (2, b"")
    said = ended.stderr.decode().splitlines()[-1]
    assert f"{option}: {value!r} is no whole number from " in said
    assert said.endswith(": give one of these")


@pytest.mark.parametrize("text", [b"", b"\xff\xfe mail", b"mail\0mail", b'" OR NEAR(mail*) --'])
def test_any_bytes_are_a_text(alone: pathlib.Path, at: pathlib.Path, text: bytes) -> None:
    found = _answer(alone, "locate", "--repo", str(at), stdin=text)
    assert [hit["path"] for hit in found["files"]][:1] == (["src/shop/mail.py"] if text else [])


def test_bytes_are_the_same_for_every_hash_seed_and_place(
    alone: pathlib.Path, at: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    lab.git(tmp_path, "clone", "--quiet", str(at), "elsewhere")
    for command in ("locate", "map"):
        said = {
            _ask(alone, command, "--repo", str(place), stdin="Round the total", PYTHONHASHSEED=seed).stdout
            for seed, place in (("0", at), ("1", at), ("2", tmp_path / "elsewhere"))
        }
        assert len(said) == 1
