"""What the code graph says of a repository at one commit, for prompts, verifications and incidents: data, never a
decision. Whatever is missing is said in `missing`, as a clause for people and prompts; a run goes on without it."""

from pydantic import BaseModel, ConfigDict


class Message(BaseModel):
    model_config = ConfigDict(extra="ignore")

    missing: str = ""
    """Why nothing is known; empty when something is, or when nothing was asked."""


class Map(Message):
    """Where to look for what a task speaks of."""

    text: str = ""
    """Files with reasons, lines and signatures, best first, then tests. Cleaned, redacted and within its budget."""
    gaps: str = ""
    """Files of which less is known than of the others, and why; empty: none."""


class Touched(BaseModel):
    """One file that a change bears on."""

    model_config = ConfigDict(extra="ignore")

    path: str
    probability: float = 0
    """How likely a complete change touches it too, 0 to 1."""
    reasons: tuple[str, ...] = ()


class Radius(Message):
    """What a change can break beyond its own files; each list best first."""

    review: tuple[Touched, ...] = ()
    tests: tuple[Touched, ...] = ()
    watch: tuple[Touched, ...] = ()
    changed_tests: tuple[str, ...] = ()
    """Tests that the change itself touches and does not remove."""
    left_out: int = 0
    """Changed files that were not looked at, because there are too many."""


class Place(BaseModel):
    """Where a frame of a stack trace runs."""

    model_config = ConfigDict(extra="ignore")

    path: str
    symbol: str = ""
    line: int = 0
    confidence: float = 0
    reason: str = ""


class Suspect(BaseModel):
    """One of our files with what a stack trace says for it."""

    model_config = ConfigDict(extra="ignore")

    path: str
    score: float = 0
    """Only its order means something."""
    places: tuple[Place, ...] = ()
    """In it, innermost first."""
    reasons: tuple[str, ...] = ()


class Suspects(Message):
    """Our files of a stack trace, the most suspect first."""

    files: tuple[Suspect, ...] = ()
    frames: int = 0
    foreign: int = 0
    """Frames that are not in a file of ours."""


class Collision(BaseModel):
    """How likely two works change a file in common."""

    model_config = ConfigDict(extra="ignore")

    probability: float = 0
    files: tuple[tuple[str, float], ...] = ()
    """Files that both will probably change, each with how likely, the likeliest first."""


class Collisions(Message):
    """One text against others: in the order in which those were given."""

    texts: tuple[Collision, ...] = ()
    branches: tuple[Collision, ...] = ()


def text_of(radius: Radius, most: int = 12) -> str:
    """For a reviewer: the files of each list, at most `most` of them, with their reasons."""
    lists = (("Must review", radius.review), ("Tests", radius.tests), ("Watch", radius.watch))
    lines: list[str] = []
    for heading, files in lists:
        if files:
            lines.append(f"{heading}:")
            lines += [f"- {each.path} ({'; '.join(each.reasons)})" for each in files[:most]]
            lines += [f"- and {len(files) - most} more"] if len(files) > most else []
    lines += [f"Not looked at: {radius.left_out} of the changed files"] if radius.left_out else []
    return "\n".join(lines)


def first_tests(radius: Radius, most: int = 20) -> tuple[str, ...]:
    """Tests to run first, those that the change touches before those that it bears on. Only paths that stay one word
    in a command line, and are no option there, are named."""
    paths = dict.fromkeys((*radius.changed_tests, *(each.path for each in radius.tests)))
    return tuple(path for path in paths if _is_one_word(path))[:most]


def _is_one_word(path: str) -> bool:
    plain = path.isascii() and all(c.isalnum() or c in "/._-+@=,%" for c in path)
    return plain and 0 < len(path) <= 300 and not path.startswith(("-", "/"))
