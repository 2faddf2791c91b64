import os
from collections.abc import Callable
from pathlib import Path

import pytest

from domain import errors, policy
from workers import settings

SECRET = "hunter2-hunter2-hunter2"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No settings of the machine that runs the tests, and a state directory of our own."""
    for name in [name for name in os.environ if name.upper().startswith("FETTLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "fettle").mkdir()
    return tmp_path / "fettle"


@pytest.fixture
def file(home: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        (home / "fettle.toml").write_text(text)
        return home / "fettle.toml"

    return write


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    return monkeypatch.setenv


def refusal(**overrides: object) -> str:
    with pytest.raises(errors.ConfigurationError) as refused:
        settings.load(**overrides)
    return str(refused.value)


def test_defaults_lie_in_the_state_directory(home: Path) -> None:
    found = settings.load()
    assert found.state_dir == home
    assert found.store_dsn == f"sqlite:///{home}/fettle.db"
    assert (found.artifacts_dir, found.host_state_dir) == (home / "artifacts", home / "host")
    assert found.approval_mode is policy.ApprovalMode.REVIEW_MERGE
    assert (found.web_port, found.agent_slots, found.judge) == (8090, 2, "none")


def test_command_line_wins_over_environment_over_file(
    file: Callable[[str], Path], env: Callable[[str, str], None]
) -> None:
    file('web_port = 1\nagent_slots = 1\nlog_level = "debug"\n[forge]\nkind = "github"\napi_url = "http://file"\n')
    env("FETTLE_WEB_PORT", "2")
    env("FETTLE_AGENT_SLOTS", "2")
    env("FETTLE_FORGE__API_URL", "http://env")
    found = settings.load(web_port=3, agent_slots=None)
    assert (found.web_port, found.agent_slots, found.log_level) == (3, 2, "debug")
    assert (found.forge.kind, found.forge.api_url) == ("github", "http://env")


def test_file_is_found_where_fettle_config_says(tmp_path: Path, env: Callable[[str, str], None]) -> None:
    (tmp_path / "other.toml").write_text('state_dir = "/srv/fettle"')
    env("FETTLE_CONFIG", str(tmp_path / "other.toml"))
    assert settings.load().artifacts_dir == Path("/srv/fettle/artifacts")


def test_file_is_found_in_the_state_directory_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "fettle.toml").write_text("agent_slots = 7")
    assert settings.load(state_dir=tmp_path / "elsewhere").agent_slots == 7


def test_blank_variable_counts_as_unset(env: Callable[[str, str], None]) -> None:
    env("FETTLE_WEB_PORT", "")
    env("FETTLE_CONFIG", "")
    assert settings.load().web_port == 8090


def test_unknown_key_of_the_file_is_refused_with_its_place(file: Callable[[str], Path]) -> None:
    path = file('aproval_mode = "full-auto"\n[forge]\napi_ulr = "http://x"\n')
    assert refusal() == (
        f"aproval_mode (set in {path}) is no setting: did you mean approval_mode?\n"
        f"forge.api_ulr (set in {path}) is no setting: did you mean forge.api_url?"
    )


def test_key_that_resembles_nothing_is_answered_with_the_whole_list(file: Callable[[str], Path]) -> None:
    file("qqqqqq = 1")
    assert "remove it; the settings are state_dir, store_url" in refusal()
    assert "forge.installation_id" in refusal()


def test_unknown_variable_is_refused_without_its_value(env: Callable[[str, str], None]) -> None:
    """A misspelt name of a secret's variable still holds the secret."""
    env("FETTLE_FORGE__TOKN", SECRET)
    assert refusal() == (
        "FETTLE_FORGE__TOKN (set in the environment variable FETTLE_FORGE__TOKN) is no setting: "
        "did you mean FETTLE_FORGE__TOKEN?"
    )


def test_single_underscore_for_a_group_is_answered_with_two(env: Callable[[str, str], None]) -> None:
    env("FETTLE_FORGE_TOKEN_FILE", "/run/token")
    assert refusal().endswith("did you mean FETTLE_FORGE__TOKEN_FILE?")


@pytest.mark.parametrize("name", ["FETTLE_OPERATOR", "FETTLE_TEMPORAL_CLI"])
def test_variables_that_other_parts_read_are_no_settings(env: Callable[[str, str], None], name: str) -> None:
    env(name, "x")
    assert settings.load().web_port == 8090


def test_unknown_key_inside_a_json_variable_is_refused(env: Callable[[str, str], None]) -> None:
    env("FETTLE_FORGE", f'{{"tokn": "{SECRET}"}}')
    assert "forge.tokn" in refusal()
    assert "FETTLE_FORGE" in refusal()
    assert SECRET not in refusal()


def test_unknown_option_is_refused() -> None:
    assert refusal(web_prot=1).startswith("web_prot (set in the command line) is no setting: did you mean web_port?")


def test_approval_mode_names_what_is_accepted_and_the_nearest(env: Callable[[str, str], None]) -> None:
    env("FETTLE_APPROVAL_MODE", "reveiw-merge")
    assert refusal() == (
        "approval_mode is 'reveiw-merge' (set in the environment variable FETTLE_APPROVAL_MODE): "
        "accepted values are full-auto, review-merge, review-all; did you mean review-merge?"
    )


def test_every_bad_value_is_named_at_once(file: Callable[[str], Path], env: Callable[[str, str], None]) -> None:
    path = file("agent_slots = 0\nweb_port = 8080")
    env("FETTLE_WEB_PORT", "http")
    first, second = sorted(refusal().splitlines())
    assert first.startswith(f"agent_slots is '0' (set in {path}), which is not accepted: ")
    assert second.startswith("web_port is 'http' (set in the environment variable FETTLE_WEB_PORT), which is not acc")


def test_bad_value_of_a_secret_is_not_shown(file: Callable[[str], Path]) -> None:
    file(f'[forge]\ntoken = ["{SECRET}"]')
    assert refusal().startswith("forge.token is a secret (set in ")
    assert SECRET not in refusal()


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        ('token = "t"\ntoken_file = "/t"', "forge.token", "forge.token_file"),
        ('token = "t"\napp_id = 1', "forge.token", "forge.app_id"),
        ('token = "t"\nprivate_key_file = "{key}"', "forge.token", "forge.private_key_file"),
        ('token_file = "{key}"\ninstallation_id = 1', "forge.token_file", "forge.installation_id"),
        ('private_key = "k"\nprivate_key_file = "/k"', "forge.private_key", "forge.private_key_file"),
    ],
)
def test_contradicting_identities_are_refused_by_both_names(
    file: Callable[[str], Path], tmp_path: Path, text: str, first: str, second: str
) -> None:
    key = tmp_path / "key"
    key.write_text("text")
    path = file("[forge]\n" + text.replace("{key}", str(key)))
    assert f"{first} (set in {path}) and {second} (set in {path})" in refusal()
    assert refusal().endswith("keep one of them")


def test_contradiction_names_both_places(file: Callable[[str], Path], env: Callable[[str, str], None]) -> None:
    path = file('webhook_secret_file = "/run/secret"')
    env("FETTLE_WEBHOOK_SECRET", SECRET)
    assert refusal() == (
        "webhook_secret (set in the environment variable FETTLE_WEBHOOK_SECRET) and "
        f"webhook_secret_file (set in {path}) both give the same secret: keep one of them"
    )


def test_secret_file_is_read_without_its_line_end(tmp_path: Path, env: Callable[[str, str], None]) -> None:
    (tmp_path / "token").write_text(f"{SECRET}\n")
    env("FETTLE_FORGE__TOKEN_FILE", str(tmp_path / "token"))
    found = settings.load()
    assert found.forge.token is not None
    assert found.forge.token.get_secret_value() == SECRET


@pytest.mark.parametrize(("content", "why"), [(None, "cannot be read"), (b"\n", "is empty"), (b"\xff", "is not UTF-8")])
def test_secret_file_that_holds_no_secret_is_refused(
    tmp_path: Path, env: Callable[[str, str], None], content: bytes | None, why: str
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    env("FETTLE_WEBHOOK_SECRET_FILE", str(path))
    assert f"webhook_secret_file names {path}, which {why}" in refusal()


def test_store_password_goes_into_the_url(tmp_path: Path, env: Callable[[str, str], None]) -> None:
    (tmp_path / "password").write_text("p@ss/w:rd\n")
    env("FETTLE_STORE_URL", "postgresql://fettle@db:5432/fettle?sslmode=require")
    env("FETTLE_STORE_PASSWORD_FILE", str(tmp_path / "password"))
    found = settings.load()
    assert found.store_dsn == "postgresql://fettle:p%40ss%2Fw%3Ard@db:5432/fettle?sslmode=require"
    assert "p@ss/w:rd" in found.secrets()


@pytest.mark.parametrize("url", ["postgresql://fettle:one@db/fettle", "sqlite:////srv/f.db"])
def test_store_password_that_does_not_fit_the_url_is_refused(env: Callable[[str, str], None], url: str) -> None:
    env("FETTLE_STORE_URL", url)
    env("FETTLE_STORE_PASSWORD", "two")
    assert "store_url (set in the environment variable FETTLE_STORE_URL) and store_password (set in" in refusal()


def test_no_secret_stands_in_repr_or_dump(tmp_path: Path, env: Callable[[str, str], None]) -> None:
    values = {name: f"{SECRET}-{name}" for name in ("token", "webhook", "database", "access", "refresh")}
    credentials = tmp_path / "credentials.json"
    credentials.write_text(f'{{"a": {{"b": ["{values["access"]}", "short"]}}, "c": "{values["refresh"]}", "d": 1}}')
    env("FETTLE_FORGE__TOKEN", values["token"])
    env("FETTLE_WEBHOOK_SECRET", values["webhook"])
    env("FETTLE_STORE_URL", f"postgresql://u:{values['database']}@h/d")
    env("FETTLE_CLAUDE_CREDENTIALS_FILE", str(credentials))
    found = settings.load()
    assert found.secrets() == set(values.values())
    for shown in (repr(found), str(found), str(found.model_dump()), found.model_dump_json()):
        assert SECRET not in shown


def test_credentials_file_that_cannot_be_read_is_refused(tmp_path: Path, env: Callable[[str, str], None]) -> None:
    env("FETTLE_CLAUDE_CREDENTIALS_FILE", str(tmp_path / "none.json"))
    with pytest.raises(errors.ConfigurationError, match=r"claude_credentials_file names .* cannot be read"):
        settings.load().secrets()


def test_service_links_of_kubernetes_are_no_settings(env: Callable[[str, str], None]) -> None:
    """A Service named fettle-web puts FETTLE_WEB_PORT=tcp://… into every pod beside it."""
    env("FETTLE_WEB_PORT", "tcp://10.0.0.7:8090")
    env("FETTLE_WEB_SERVICE_HOST", "10.0.0.7")
    env("FETTLE_WEB_SERVICE_PORT_HTTP", "8090")
    env("FETTLE_PORT_8090_TCP_ADDR", "10.0.0.7")
    assert settings.load().web_port == 8090


def test_file_cannot_move_the_directory_it_was_found_in(file: Callable[[str], Path], home: Path) -> None:
    path = file('state_dir = "/srv/fettle"')
    assert f"state_dir is '/srv/fettle' (set in {path}), but that file was found in the state" in refusal()
    file(f'state_dir = "{home}"')
    assert settings.load().state_dir == home


@pytest.mark.parametrize(
    ("content", "why"), [(b"a = ", "is not TOML"), (b"\xff = 1", "is not TOML"), (None, "cannot be read")]
)
def test_named_file_that_cannot_be_used_is_refused(
    tmp_path: Path, env: Callable[[str, str], None], content: bytes | None, why: str
) -> None:
    path = tmp_path / "broken.toml"
    if content is not None:
        path.write_bytes(content)
    env("FETTLE_CONFIG", str(path))
    assert refusal().startswith(f"FETTLE_CONFIG names {path}, which {why}")


def test_group_variable_that_is_no_json_is_refused_without_its_value(env: Callable[[str, str], None]) -> None:
    env("FETTLE_FORGE", SECRET)
    assert "FETTLE_FORGE__API_URL" in refusal()
    assert SECRET not in refusal()
