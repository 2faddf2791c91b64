from pathlib import Path

import pytest

from domain import errors
from sandbox import environment

HOST = {
    "PATH": "/usr/bin:.:node_modules/.bin::/bin",
    "LANG": "de_DE.UTF-8",
    "HOME": "/home/operator",
    "GITHUB_TOKEN": "x",
    "ANTHROPIC_API_KEY": "k",
}
HOME = Path("/state/agents/r/home")
TMP = Path("/state/agents/r/tmp")


def test_nothing_is_inherited_but_what_is_named() -> None:
    built = environment.build(home=HOME, tmp=TMP, host=HOST)
    assert built == {
        "PATH": "/usr/bin:/bin",
        "LANG": "de_DE.UTF-8",
        "TERM": "dumb",
        "HOME": str(HOME),
        "TMPDIR": str(TMP),
    }


def test_a_named_variable_passes_and_an_absent_one_is_left_out() -> None:
    built = environment.build(home=HOME, tmp=TMP, host=HOST, passed=("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"))
    assert built["ANTHROPIC_API_KEY"] == "k"
    assert "ANTHROPIC_BASE_URL" not in built


def test_the_runs_own_places_cannot_be_overridden() -> None:
    built = environment.build(home=HOME, tmp=TMP, host=HOST, passed=("HOME",), fixed={"TMPDIR": "/tmp"})
    assert (built["HOME"], built["TMPDIR"]) == (str(HOME), str(TMP))


@pytest.mark.parametrize(
    "name",
    [
        "GITHUB_TOKEN", "GH_TOKEN", "GH_ENTERPRISE_TOKEN", "FORGEJO_TOKEN", "MY_GITHUB_APP_PRIVATE_KEY", "FETTLE_ANY",
        "TEMPORAL_API_KEY", "SSH_AUTH_SOCK", "GIT_ASKPASS", "GIT_CONFIG_COUNT", "LD_PRELOAD", "BASH_ENV", "PYTHONPATH",
    ],
)  # fmt: skip
def test_what_no_agent_may_have_is_refused_even_when_it_is_asked_for(name: str) -> None:
    for asked in ({"passed": (name,)}, {"fixed": {name: "v"}}):
        with pytest.raises(errors.ConfigurationError, match=f"must not hold {name}"):
            environment.build(home=HOME, tmp=TMP, host={name: "v"}, **asked)  # type: ignore[arg-type]


def test_a_host_without_a_usable_path_gives_the_ordinary_one() -> None:
    assert environment.build(home=HOME, tmp=TMP, host={"PATH": "bin:."})["PATH"] == environment.DEFAULT_PATH
