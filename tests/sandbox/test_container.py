"""The engine's command line, with a client that notes what it is told and runs the program itself; and the real thing
where there is an engine."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from domain import errors
from sandbox import container, process
from sandbox import spec as spec_
from tests.sandbox import cells

CLIENT = f"""#!{sys.executable} -IS
import json, os, sys
with open(os.environ["HOME"] + "/told", "a") as file:
    file.write(json.dumps({{"argv": sys.argv[1:], "env": dict(os.environ)}}) + "\\n")
if sys.argv[1] == "run":
    inner = sys.argv[sys.argv.index("image") + 1:]
    os.execvp(inner[0], inner)
"""


def engine(folder: Path) -> container.Container:
    client = folder / "client"
    client.mkdir()
    (client / "podman").write_text(CLIENT)
    (client / "podman").chmod(0o755)
    host = {"PATH": f"{client}:{os.environ['PATH']}", "HOME": str(client), "ANTHROPIC_API_KEY": "k-of-the-host"}
    return container.Container.on("image", "podman", host, (folder / "tools",))


def spec(folder: Path, level: spec_.Level, *argv: str) -> process.Spec:
    places = spec_.Places(folder / "home", folder / "tmp", folder / "work", readable=(folder / "objects",))
    for each in (places.home, places.tmp, places.work, folder / "objects", folder / "tools"):
        each.mkdir()
    env = {"PATH": "/usr/bin", "HOME": str(places.home), "MODEL_KEY": "k-of-the-run", "CI": "true"}
    return process.Spec(argv, env, places.work, level=level, places=places, grace_seconds=0.3)


def told(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "client" / "told").read_text().splitlines()]


async def test_the_container_is_closed_and_no_value_stands_in_arguments(tmp_path: Path) -> None:
    wanted = spec(tmp_path, engine(tmp_path), "echo", "hello")
    done = await process.capture(wanted, seconds=20)
    assert done.stdout == b"hello\n"
    run, removal = told(tmp_path)
    argv = run["argv"]
    assert isinstance(argv, list)
    text = " ".join(argv)
    for each in ("--network none", "--read-only", "--cap-drop ALL", "--security-opt no-new-privileges", "--init"):
        assert each in text
    assert "--pids-limit 2048 --memory 8192m" in text
    assert f"--user {os.getuid()}:{os.getgid()}" in text
    mounts = [argv[place + 1] for place, each in enumerate(argv) if each == "--mount"]
    writable = [each for each in mounts if not each.endswith(",readonly")]
    assert writable == [f"type=bind,source={p},target={p}" for p in (tmp_path / "home", tmp_path / "work")]
    assert f"type=bind,source={tmp_path / 'objects'},target={tmp_path / 'objects'},readonly" in mounts
    assert f"type=bind,source={tmp_path / 'tools'},target={tmp_path / 'tools'},readonly" in mounts
    assert "k-of-the-run" not in text
    assert "k-of-the-host" not in json.dumps(run)
    assert "--env MODEL_KEY --env CI" in text
    name = argv[argv.index("--name") + 1]
    assert removal["argv"] == ["rm", "--force", name]


async def test_a_container_is_removed_when_its_client_had_to_be_killed(tmp_path: Path) -> None:
    wanted = spec(tmp_path, engine(tmp_path), "sh", "-c", "trap '' TERM; sleep 60")
    done = await process.capture(wanted, seconds=0.5)
    assert done.timed_out
    run, removal = told(tmp_path)
    argv = run["argv"]
    assert isinstance(argv, list)
    assert removal["argv"] == ["rm", "--force", argv[argv.index("--name") + 1]]


async def test_an_agents_own_image_goes_before_the_hosts(tmp_path: Path) -> None:
    level = engine(tmp_path)
    launch = level.plan(dataclasses.replace(spec(tmp_path, level, "agent"), image="image-of-the-agent"))
    assert launch.argv[-2:] == ("image-of-the-agent", "agent")


async def test_the_way_out_is_one_socket(tmp_path: Path) -> None:
    level = engine(tmp_path)
    launch = level.plan(dataclasses.replace(spec(tmp_path, level, "agent"), network=tmp_path / "proxy.sock"))
    assert f"type=bind,source={tmp_path / 'proxy.sock'},target={spec_.WAY_OUT}" in launch.argv
    assert launch.argv[launch.argv.index("image") + 1 :][:2] == ("python3", "-I")
    assert launch.argv[-2:] == ("--", "agent")


async def test_without_an_image_nothing_starts(tmp_path: Path) -> None:
    level = container.Container.on("", "", {"PATH": str(engine(tmp_path).program.rpartition("/")[0])})
    with pytest.raises(errors.AgentUnavailable, match="set FETTLE_SANDBOX_IMAGE"):
        await process.capture(spec(tmp_path, level, "true"), seconds=5)


def test_a_real_engine_confines() -> None:
    """Needs an engine that answers, and an image named by the variable."""
    image = os.environ.get("FETTLE_TEST_IMAGE", "")
    client = next((path for name in container.ENGINES if (path := shutil.which(name))), None)
    if client is None or not image or subprocess.run([client, "info"], capture_output=True).returncode != 0:
        pytest.skip("no container engine answers here, or FETTLE_TEST_IMAGE names no image: the level is not tested")
    level = container.Container.on(image, client, dict(os.environ))
    with cells.cell("none", "root" if os.geteuid() == 0 else "user") as made:
        here = dataclasses.replace(made, level=level, python=Path("python3"))
        code = "import os; print(os.path.exists('/etc/hostname'), len([p for p in os.listdir('/proc') if p.isdigit()]))"
        done = cells.execute_as(os.geteuid(), here.script(code), 60)
        assert done.status.exit_code == 0, done.stderr
        assert int(done.stdout.split()[1]) < 10
