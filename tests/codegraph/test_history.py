"""The past of a revision: its own commits, once read, under today's names."""

import collections
import pathlib
import random
from collections.abc import Iterable, Iterator, Mapping

import hypothesis
import hypothesis.strategies
import pytest

from codegraph import history, log, objects, store
from tests.codegraph import lab

_TIME = 1_700_000_000


class Counting(objects.Repository):
    """A repository that notes which commits were read."""

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__(path)
        self.read_commits: list[str] = []
        self.listings = 0

    def changes(self, shas: Iterable[str]) -> Iterator[log.Change]:
        found = list(super().changes(shas))
        self.read_commits += [change.sha for change in found]
        yield from found

    def commits(self, rev: str, limit: int) -> list[log.Link]:
        self.listings += 1
        return super().commits(rev, limit)


def _line(*steps: Mapping[bytes, lab.Contents | None], texts: Iterable[bytes] = ()) -> list[lab.Commit]:
    messages = dict(enumerate(texts))
    return [
        lab.Commit(files, text=messages.get(place, b"change %d" % place), time=_TIME + 60 * place)
        for place, files in enumerate(steps)
    ]


def _load(at: pathlib.Path, rev: str = "main", limit: int = 3_000) -> history.History:
    return history.load(objects.Repository(at), rev, store.Store(None), limit)


def test_commits_come_newest_first_with_what_they_touched(tmp_path: pathlib.Path) -> None:
    shas = lab.make(tmp_path, _line({b"a": b"1", b"b": b"1"}, {b"b": b"2"}, {b"a": None, b"c/d": b"3"}))
    found = _load(tmp_path)
    assert [(one.sha, one.paths, one.size, one.time) for one in found.commits] == [
        (shas[2], ("a", "c/d"), 2, _TIME + 120),
        (shas[1], ("b",), 1, _TIME + 60),
        (shas[0], ("a", "b"), 2, _TIME),
    ]
    assert [one.text for one in found.commits] == ["change 2", "change 1", "change 0"]
    assert (found.shallow, found.problem) == (False, "")


def test_only_what_leads_to_the_revision_counts(tmp_path: pathlib.Path) -> None:
    """The future of a revision would be an answer that nobody could have had."""
    side = lab.Commit({b"side": b"1"}, parents=[0], branch="side", time=_TIME + 999)
    shas = lab.make(tmp_path, [*_line({b"a": b"1"}, {b"a": b"2"}, {b"a": b"3"}), side])
    assert [one.sha for one in _load(tmp_path, shas[1]).commits] == [shas[1], shas[0]]
    assert [one.sha for one in _load(tmp_path, "side").commits] == [shas[3], shas[0]]


def test_merges_are_passed_through_and_not_counted(tmp_path: pathlib.Path) -> None:
    shas = lab.make(
        tmp_path,
        [
            *_line({b"a": b"1"}, {b"b": b"2"}),
            lab.Commit({b"c": b"3"}, parents=[0], branch="side", time=_TIME + 90),
            lab.Commit({b"c": b"3"}, parents=[1, 2], time=_TIME + 120),
        ],
    )
    assert [one.sha for one in _load(tmp_path).commits] == [shas[2], shas[1], shas[0]]


def test_old_names_mean_the_file_of_today_through_chains_of_renames(tmp_path: pathlib.Path) -> None:
    text = b"".join(b"line %d\n" % n for n in range(30))
    lab.make(
        tmp_path,
        _line(
            {b"one.py": text, b"x": b"1"},
            {b"one.py": text + b"more\n", b"x": b"2"},
            {b"one.py": None, b"two.py": text + b"more\n"},
            {b"two.py": None, b"pkg/three.py": text + b"more\nand more\n"},
            {b"pkg/three.py": text},
        ),
    )
    assert [one.paths for one in _load(tmp_path).commits] == [
        ("pkg/three.py",),
        ("pkg/three.py",),
        ("pkg/three.py",),
        ("pkg/three.py", "x"),
        ("pkg/three.py", "x"),
    ]
    assert _load(tmp_path, "main~2").commits[-1].paths == ("two.py", "x")


def test_a_name_that_was_given_again_means_both_files_in_their_time(tmp_path: pathlib.Path) -> None:
    text = b"".join(b"line %d\n" % n for n in range(30))
    lab.make(
        tmp_path,
        _line({b"a.py": text}, {b"a.py": None, b"b.py": text}, {b"a.py": b"another\n"}, {b"a.py": b"another 2\n"}),
    )
    assert [one.paths for one in _load(tmp_path).commits] == [("a.py",), ("a.py",), ("b.py",), ("b.py",)]


def test_a_renamed_tree_keeps_the_past_of_its_files(tmp_path: pathlib.Path) -> None:
    files: dict[bytes, lab.Contents | None] = {
        b"old/d%d/f%d.py" % (n % 7, n): b"contents %d\n" % n * 9 for n in range(200)
    }
    moved = {b"new/deep/" + path[4:]: data for path, data in files.items()}
    lab.make(tmp_path, _line(files, {b"old/d3/f3.py": b"changed\n"}, {**moved, **dict.fromkeys(files)}, {b"z": b"1"}))
    commits = _load(tmp_path).commits
    assert commits[2].paths == ("old/d3/f3.py",)  # what came after it has nothing in common with it
    assert set(commits[3].paths) == {f"new/deep/d{n % 7}/f{n}.py" for n in range(200) if n != 3} | {"old/d3/f3.py"}
    assert [one.size for one in commits] == [1, 201, 1, 200]


def test_commits_of_very_many_files_are_known_by_their_size(tmp_path: pathlib.Path) -> None:
    lab.make(tmp_path, _line({b"f%d" % n: b"" for n in range(700)}, {b"g%d" % n: b"" for n in range(30)}))
    small, large = _load(tmp_path).commits
    assert (large.size, len(large.paths)) == (700, 500)
    assert small.size == 30


def test_messages_of_any_bytes_are_text_of_bounded_length(tmp_path: pathlib.Path) -> None:
    lab.make(
        tmp_path,
        _line({b"a": b"1"}, {b"a": b"2"}, {b"a": b"3"}, texts=[b"bad \xff bytes", b"\x01\n" + b"x" * 9_000, b""]),
    )
    assert [one.text for one in _load(tmp_path).commits] == [
        "",
        ("\x01\n" + "x" * 9_000)[:2_000],
        "bad \N{REPLACEMENT CHARACTER} bytes",
    ]


def test_paths_that_are_no_text_are_counted_and_not_told(tmp_path: pathlib.Path) -> None:
    lab.make(tmp_path, _line({b"\xff.py": b"1", b"ok.py": b"2", b"M": b"3", b"\x01M\nq": b"4"}))
    (one,) = _load(tmp_path).commits
    assert (one.paths, one.size) == (("\x01M\nq", "M", "ok.py"), 4)


def test_a_commit_that_changes_nothing_is_there(tmp_path: pathlib.Path) -> None:
    lab.make(tmp_path, _line({b"a": b"1"}, {}, {b"a": b"2"}))
    assert [one.paths for one in _load(tmp_path).commits] == [("a",), (), ("a",)]


def test_several_roots_are_walked(tmp_path: pathlib.Path) -> None:
    root = lab.Commit({b"b": b"1"}, parents=[], branch="other", time=_TIME + 30)
    merge = lab.Commit({b"b": b"1"}, parents=[1, 2], time=_TIME + 100)
    shas = lab.make(tmp_path, [*_line({b"a": b"1"}, {b"a": b"2"}), root, merge])
    assert [one.sha for one in _load(tmp_path).commits] == [shas[1], shas[2], shas[0]]


def test_a_shallow_clone_has_no_past_and_says_so(tmp_path: pathlib.Path) -> None:
    lab.make(tmp_path / "r", _line({b"a": b"1"}, {b"a": b"2"}, {b"a": b"3"}))
    lab.git(tmp_path, "clone", "--quiet", "--bare", "--depth=1", f"file://{tmp_path / 'r'}", "one")
    found = _load(tmp_path / "one")
    assert (found.commits, found.shallow) == ((), True)
    assert "shallow" in found.problem


def test_a_shallow_clone_that_is_deepened_gains_its_past(tmp_path: pathlib.Path) -> None:
    """The commit at the cut seems to have made every file; that must not be what is remembered of it."""
    shas = lab.make(tmp_path / "r", _line({b"a": b"1", b"b": b"1"}, {b"a": b"2"}, {b"a": b"3"}))
    lab.git(tmp_path, "clone", "--quiet", "--bare", "--depth=2", f"file://{tmp_path / 'r'}", "two")
    with store.Store(tmp_path / "kept") as kept:
        cut = history.load(objects.Repository(tmp_path / "two"), "main", kept)
        assert [one.sha for one in cut.commits] == [shas[2]]
        lab.git(tmp_path / "two", "fetch", "--quiet", "--unshallow")
        whole = history.load(objects.Repository(tmp_path / "two"), "main", kept)
    assert [(one.sha, one.paths) for one in whole.commits] == [
        (shas[2], ("a",)),
        (shas[1], ("a",)),
        (shas[0], ("a", "b")),
    ]
    assert not whole.shallow


def test_what_cannot_be_read_is_a_history_with_a_problem(tmp_path: pathlib.Path) -> None:
    shas = lab.make(tmp_path, _line({b"a": b"1"}, {b"a": b"2"}))
    assert "absent" in _load(tmp_path, "absent").problem
    (tmp_path / "objects" / shas[0][:2] / shas[0][2:]).unlink()
    found = _load(tmp_path)
    assert found.commits == ()
    assert found.problem


def _partial(tmp_path: pathlib.Path, *steps: Mapping[bytes, lab.Contents | None]) -> pathlib.Path:
    lab.make(tmp_path / "r", _line(*steps))
    lab.git(tmp_path / "r", "config", "uploadpack.allowFilter", "true")
    lab.git(tmp_path, "clone", "--quiet", "--bare", "--filter=blob:none", f"file://{tmp_path / 'r'}", "p")
    return tmp_path / "p"


_TEXT = b"".join(b"line %d\n" % n for n in range(30))


def test_a_clone_without_blobs_knows_renames_of_unchanged_files_alone(tmp_path: pathlib.Path) -> None:
    at = _partial(tmp_path, {b"a": _TEXT, b"x": b"1"}, {b"a": None, b"b": _TEXT + b"more\n"}, {b"x": None, b"y": b"1"})
    assert [one.paths for one in _load(at).commits] == [("y",), ("a", "b"), ("a", "y")]


def test_what_could_not_be_compared_is_looked_at_again_and_the_rest_is_remembered(tmp_path: pathlib.Path) -> None:
    """Contents that were lacking may come; and whoever ends git in the middle leaves the same answer behind."""
    at = _partial(tmp_path, {b"a": _TEXT}, {b"a": None, b"b": _TEXT + b"more\n"}, {b"b": _TEXT})
    repo = Counting(at)
    with store.Store(tmp_path / "kept") as kept:
        history.load(repo, "main", kept)
    repo.read_commits.clear()
    with store.Store(tmp_path / "kept") as kept:
        history.load(repo, "main", kept)
        assert len(repo.read_commits) == 1
    lab.git(at, "fetch", "--quiet", "--refetch", "--no-filter", f"file://{tmp_path / 'r'}", "main")
    with store.Store(tmp_path / "kept") as kept:
        found = history.load(objects.Repository(at), "main", kept)
    assert found == _load(tmp_path / "r")
    assert [one.paths for one in found.commits] == [("b",), ("b",), ("b",)]


def test_a_later_revision_reads_only_what_is_new(tmp_path: pathlib.Path) -> None:
    commits = _line(*({b"f%d" % (n % 9): b"%d" % n} for n in range(400)))
    shas = lab.make(tmp_path / "r", commits)
    repo = Counting(tmp_path / "r")
    with store.Store(tmp_path / "kept") as kept:
        history.load(repo, shas[380], kept)
        assert (len(repo.read_commits), repo.listings) == (381, 1)
        repo.read_commits.clear()
        history.load(repo, shas[390], kept)
        assert sorted(repo.read_commits) == sorted(shas[381:391])
        repo.read_commits.clear()
        history.load(repo, shas[200], kept)
        history.load(repo, shas[390], kept)
        assert (repo.read_commits, repo.listings) == ([], 1)
    with store.Store(tmp_path / "kept") as kept:
        found = history.load(repo, shas[390], kept)
    assert repo.read_commits == []
    assert found == _load(tmp_path / "r", shas[390])


def test_the_newest_are_kept_when_there_are_more(tmp_path: pathlib.Path) -> None:
    shas = lab.make(tmp_path, _line(*({b"f": b"%d" % n} for n in range(50))))
    assert [one.sha for one in _load(tmp_path, limit=7).commits] == shas[:-8:-1]


_SHAPES = hypothesis.strategies.lists(
    hypothesis.strategies.tuples(
        hypothesis.strategies.integers(0, 20),
        hypothesis.strategies.integers(0, 20),
        hypothesis.strategies.integers(-9, 9),
    ),
    min_size=2,
    max_size=25,
)


@hypothesis.given(_SHAPES, hypothesis.strategies.integers(3, 12), hypothesis.strategies.randoms(use_true_random=False))
@hypothesis.settings(max_examples=20, deadline=None)
def test_the_past_does_not_depend_on_what_was_asked_before(
    tmp_path_factory: pytest.TempPathFactory,
    shapes: list[tuple[int, int, int]],
    limit: int,
    chance: random.Random,
) -> None:
    """Whatever the shape of the history, and even if clocks were wrong."""
    at = tmp_path_factory.mktemp("r")
    commits = []
    for place, (one, two, skew) in enumerate(shapes):
        parents = list(dict.fromkeys(each % place for each in (one, two))) if place else []
        commits.append(lab.Commit({b"f%d" % place: b"1"}, parents=parents, time=_TIME + 10 * place + 20 * skew))
    shas = lab.make(at, commits)
    repo, kept = objects.Repository(at), store.Store(None)
    for sha in chance.choices(shas, k=6):
        assert history.load(repo, sha, kept, limit) == _load(at, sha, limit)


def test_a_commit_never_comes_before_all_that_follow_it(tmp_path: pathlib.Path) -> None:
    chance = random.Random(3)
    commits = [
        lab.Commit({b"f": b"%d" % place}, parents=[place - 1] if place else [], time=_TIME + chance.randrange(9_000))
        for place in range(40)
    ]
    shas = lab.make(tmp_path, commits)
    assert [one.sha for one in _load(tmp_path).commits] == shas[::-1]


def test_a_damaged_store_changes_nothing(tmp_path: pathlib.Path) -> None:
    shas = lab.make(tmp_path / "r", _line(*({b"f%d" % n: b"%d" % n} for n in range(300))))
    with store.Store(tmp_path / "kept") as kept:
        whole = history.load(objects.Repository(tmp_path / "r"), "main", kept)
    file = tmp_path / "kept/codegraph.sqlite"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with store.Store(tmp_path / "kept") as kept:
        assert history.load(objects.Repository(tmp_path / "r"), "main", kept) == whole
    assert collections.Counter(one.sha for one in whole.commits) == collections.Counter(shas)
