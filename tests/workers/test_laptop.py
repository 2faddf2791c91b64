"""What the parts of an installation on one machine are started with."""

from pathlib import Path

import pytest

from workers import laptop, ports, supervisor


@pytest.mark.parametrize(("known", "given"), [("alice", "alice"), ("", "fettle"), (None, "fettle")])
def test_the_server_of_a_user_without_a_name_is_given_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, known: str | None, given: str
) -> None:
    """It ends at once when neither USER nor the passwd file says who runs it, as in a container with a free uid."""
    monkeypatch.delenv("USER", raising=False)
    if known is not None:
        monkeypatch.setenv("USER", known)
    made = laptop._server(tmp_path, ports.Ports(), supervisor.Addresses("127.0.0.1:1", "", "", ""))
    assert made.environment is not None
    assert made.environment["USER"] == given
