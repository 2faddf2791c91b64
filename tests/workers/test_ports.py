import socket
import subprocess
import sys
from pathlib import Path

import pytest

from domain import errors
from workers import ports


def everything(_: int) -> bool:
    return True


def test_defaults_are_used_the_first_time() -> None:
    assert ports.choose({}, None, free=everything) == ports.Ports()


def test_ports_used_last_come_before_defaults_and_explicit_ones_before_both() -> None:
    last = ports.Ports(temporal=9001, web=9002)
    chosen = ports.choose({"web": 9003, "forge": None}, last, free=everything)
    assert (chosen.temporal, chosen.web, chosen.forge) == (9001, 9003, 8080)


def test_port_in_use_is_refused_with_its_number_and_its_flag() -> None:
    with socket.create_server((ports.HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ports.PortInUse) as refused:
            ports.choose({"temporal_ui": port}, None, free=lambda p: p != port or ports.is_free(p))
    assert f"port {port}" in str(refused.value)
    assert "--ui-port" in str(refused.value)
    assert refused.value.exit_code == 3


def test_port_in_use_by_a_wildcard_listener_is_not_free() -> None:
    with socket.create_server(("", 0)) as taken:
        assert not ports.is_free(taken.getsockname()[1])


def test_automatic_ports_are_free_distinct_and_stay_the_same() -> None:
    chosen = ports.choose({}, None, automatic=True)
    assert len(set(chosen.model_dump().values())) == 4
    assert all(map(ports.is_free, chosen.model_dump().values()))
    assert ports.choose({}, chosen, automatic=True) == chosen


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names that go with the process")
def test_a_port_that_one_process_drew_is_drawn_by_no_other_until_it_ends() -> None:
    drawing = (
        "import sys; from workers import ports; own = int(sys.argv[1]); "
        "drawn = ports.choose({}, None, automatic=True, needed=frozenset({'web'}), "
        "free=lambda port: port == own).web; print(drawn)"
    )

    def another(port: int) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-c", f"import random; random.choice = lambda _: {port}; {drawing}", str(port)]
        return subprocess.run(argv, capture_output=True, text=True, check=False)

    mine = ports.choose({}, None, automatic=True).web
    assert "no free port was found" in another(mine).stderr
    theirs = next(port for port in range(20000, 32000) if port not in ports._drawn and ports.is_free(port))
    assert [another(theirs).stdout for _ in range(2)] == [f"{theirs}\n"] * 2  # the first one has ended


def test_automatic_replaces_a_recorded_port_that_is_taken_but_never_an_explicit_one() -> None:
    last = ports.Ports(temporal=9001)
    chosen = ports.choose({}, last, automatic=True, free=lambda p: p != 9001)
    assert chosen.temporal != 9001
    with pytest.raises(ports.PortInUse):
        ports.choose({"temporal": 9001}, last, automatic=True, free=lambda p: p != 9001)


def test_port_that_nothing_will_listen_on_is_not_checked() -> None:
    chosen = ports.choose({}, None, needed=frozenset({"web"}), free=lambda p: p == 8090)
    assert chosen == ports.Ports()


def test_same_port_for_two_things_names_both_flags() -> None:
    with pytest.raises(errors.ConfigurationError, match="--forge-port or --web-port"):
        ports.choose({"forge": 9001, "web": 9001}, None, free=everything)


def test_chosen_ports_are_found_again(tmp_path: Path) -> None:
    chosen = ports.Ports(temporal=9001)
    ports.record(tmp_path, chosen)
    assert ports.recorded(tmp_path) == chosen


def test_unreadable_record_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / ports.FILE).write_text('{"temporal": "no"')
    assert ports.recorded(tmp_path) is None


def test_a_port_may_be_the_default_of_what_does_not_listen() -> None:
    chosen = ports.choose({"forge": 7233}, None, needed=frozenset({"forge"}), free=lambda _: True)
    assert chosen.forge == 7233
