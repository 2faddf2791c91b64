from pathlib import Path

import pytest

from activities import artifact_store
from domain import errors, redaction
from sandbox.egress.verdicts import Denied, Why
from workers import egress, settings


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FETTLE_STATE_DIR", str(tmp_path))


def exits(tmp_path: Path) -> egress.egress.Egress:
    store = artifact_store.DirectoryStore(tmp_path / "artifacts")
    return egress.of(settings.load(), {}, store, redaction.Redactor())


def test_without_a_setting_nothing_is_reachable(tmp_path: Path) -> None:
    rules = exits(tmp_path).rules
    assert (rules.allowed, rules.private) == ((), ())


def test_lists_of_the_environment_have_commas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FETTLE_EGRESS_ALLOW", "files.example.com, *.docs.example.com:8443")
    monkeypatch.setenv("FETTLE_EGRESS_PRIVATE", "cache.internal:3141")
    monkeypatch.setenv("FETTLE_EGRESS_REGISTRIES__PYTHON", "wheels.example.com")
    own = exits(tmp_path)
    assert own.rules.check("files.example.com", 443) is False
    assert own.rules.check("a.docs.example.com", 8443) is False
    assert own.rules.check("cache.internal", 3141) is True
    assert own.rules.check("wheels.example.com", 443) is False
    assert own.named == {"python": ("wheels.example.com",)}


def test_lists_of_the_file_are_lists(tmp_path: Path) -> None:
    (tmp_path / "fettle.toml").write_text(
        'egress_allow = ["a.example"]\n[egress_registries]\nnode = ["b.example:8080"]\n'
    )
    own = exits(tmp_path)
    assert own.rules.check("a.example", 443) is False
    assert own.rules.check("b.example", 8080) is False


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("FETTLE_EGRESS_ALLOW", "10.0.0.1"),
        ("FETTLE_EGRESS_PRIVATE", "*"),
        ("FETTLE_EGRESS_REGISTRIES__GO", "https://a.example"),
    ],
)
def test_an_entry_that_is_no_host_is_refused_with_its_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(errors.ConfigurationError, match="is to be allowed for agents") as refused:
        exits(tmp_path)
    assert variable in str(refused.value)


def test_an_unknown_ecosystem_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FETTLE_EGRESS_REGISTRIES__PYHTON", "wheels.example.com")
    with pytest.raises(errors.ConfigurationError, match="PYTHON"):
        exits(tmp_path)


def test_the_forge_stays_closed_even_if_it_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FETTLE_FORGE__API_URL", "https://code.example.org/api/v3")
    monkeypatch.setenv("FETTLE_EGRESS_ALLOW", "code.example.org, files.code.example.org")
    rules = exits(tmp_path).rules
    for host in ("code.example.org", "files.code.example.org"):
        with pytest.raises(Denied) as refused:
            rules.check(host, 443)
        assert refused.value.why is Why.FORGE
    assert rules.overruled() == ["code.example.org", "files.code.example.org"]
