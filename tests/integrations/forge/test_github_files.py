"""A file of the repository is read at one commit, and what is no text file is said to be none."""

import base64

import pytest

from domain import errors
from tests.integrations.forge.conftest import ScriptedForge


async def test_a_file_is_read_as_it_was_at_the_commit(work, bot):
    first = work.push("main", {"WORKFLOW.md": "one ü\n", "docs/a b.md": "spaced"})
    second = work.push("main", {"WORKFLOW.md": "two\n"})
    for ref, text in ((first, "one ü\n"), (second, "two\n"), ("main", "two\n"), (first, "one ü\n")):
        found = await bot.read_file(work.repo, "WORKFLOW.md", ref=ref)
        assert (found.path, found.text) == ("WORKFLOW.md", text)
        assert found.blob_sha == work.git("rev-parse", f"{ref}:WORKFLOW.md")
    assert (await bot.read_file(work.repo, "docs/a b.md", ref=second)).text == "spaced"


async def test_a_file_that_is_not_there_is_none(work, bot):
    assert await bot.read_file(work.repo, "WORKFLOW.md", ref="main") is None


async def test_a_repository_that_is_not_there_is_no_missing_file(work, bot):
    with pytest.raises(errors.NotFound):
        await bot.read_file(work.repo.model_copy(update={"name": "nothing"}), "WORKFLOW.md", ref="main")


async def test_a_path_that_climbs_finds_nothing(work, bot):
    assert await bot.read_file(work.repo, "../README.md", ref="main") is None


async def test_a_folder_is_no_file(work, bot):
    work.push("main", {"WORKFLOW.md/x": "y"})
    with pytest.raises(errors.InvalidRequest, match="it is a folder, expected a text file"):
        await bot.read_file(work.repo, "WORKFLOW.md", ref="main")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"type": "submodule", "size": 0}, "it is a submodule"),
        ({"type": "symlink", "size": 3, "content": "", "encoding": "base64"}, "it is a symlink"),
        ({"type": "file", "size": 2_000_000, "content": "", "encoding": "none"}, "a file of 2000000 bytes"),
        ({"type": "file", "encoding": "base64", "content": base64.b64encode(b"\xff").decode()}, "is not UTF-8"),
    ],
)
async def test_what_is_no_text_is_said(script: ScriptedForge, github_client, repo, answer, words):
    script.reply(200, answer)
    with pytest.raises(errors.InvalidRequest, match=words):
        await github_client.read_file(repo, "WORKFLOW.md", ref="main")
    assert script.asked[0].path == "/repos/acme/api/contents/WORKFLOW.md?ref=main"
