"""The engine's command line, with a client that notes what it is told and runs the program itself."""

import dataclasses
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from domain import errors
from sandbox import container, proc, process
from sandbox import spec as spec_
from sandbox.spec import Wall

CLIENT = f"""#!{sys.executable} -IS
import json, os, sys
with open(os.environ["HOME"] + "/told", "a") as file:
    file.write(json.dumps({{"argv": sys.argv[1:], "env": dict(os.environ)}}) + "\\n")
if sys.argv[1] == "ps":
    print("one\\ntwo")
if sys.argv[1] == "run":
    inner = [sys.argv[sys.argv.index("--entrypoint") + 1], *sys.argv[sys.argv.index("image") + 1:]]
    os.execvp(inner[0], inner)
"""


def engine(folder: Path) -> container.Container:
    client = folder / "client"
    client.mkdir()
    (client / "podman").write_text(CLIENT)
    (client / "podman").chmod(0o755)
    host = {"PATH": f"{client}:{os.environ['PATH']}", "HOME": str(client), "ANTHROPIC_API_KEY": "k-of-the-host"}
    return container.Container.on("image", "podman", host, folder, (folder / "tools",))


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
    run, asking, removal = told(tmp_path)
    argv = run["argv"]
    assert isinstance(argv, list)
    text = " ".join(argv)
    for each in ("--network none", "--read-only", "--cap-drop ALL", "--security-opt no-new-privileges", "--init"):
        assert each in text
    assert "--pids-limit 2048 --memory 8192m" in text
    assert "--ulimit nofile=4096:4096" in text
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
    assert asking["argv"] == ["inspect", "--format", "{{.State.OOMKilled}}", name]
    assert removal["argv"] == ["rm", "--force", name]


@pytest.mark.parametrize(("mebibytes", "words"), [(8192, "most likely by the kernel"), (0, "")])
async def test_a_program_killed_inside_is_told_of_its_memory_where_that_has_a_limit(
    tmp_path: Path, mebibytes: int, words: str
) -> None:
    wanted = spec(tmp_path, engine(tmp_path), "sh", "-c", "exit 137")
    rlimits = wanted.rlimits.model_copy(update={"memory_mebibytes": mebibytes})
    done = await process.capture(dataclasses.replace(wanted, rlimits=rlimits), seconds=20)
    assert done.status.exit_code == 137
    assert words in done.status.exceeded
    assert bool(done.status.exceeded) is bool(words)


async def test_a_container_is_removed_when_its_client_had_to_be_killed(tmp_path: Path) -> None:
    wanted = spec(tmp_path, engine(tmp_path), "sh", "-c", "trap '' TERM; echo up; sleep 60")
    started = await process.ConfinedProcess.start(wanted)
    async for line in started.lines():
        assert line == b"up"
        break
    assert (await started.close(0.3)).signal == signal.SIGKILL
    run, _, removal = told(tmp_path)
    argv = run["argv"]
    assert isinstance(argv, list)
    assert removal["argv"] == ["rm", "--force", argv[argv.index("--name") + 1]]


async def test_a_container_is_removed_when_its_launcher_was_killed(tmp_path: Path) -> None:
    started = await process.ConfinedProcess.start(spec(tmp_path, engine(tmp_path), "sh", "-c", "echo up; sleep 60"))
    async for line in started.lines():
        assert line == b"up"
        break
    assert started.launcher is not None
    assert proc.send(started.launcher, signal.SIGKILL)
    assert (await started.close()).signal == signal.SIGKILL
    run, removal = told(tmp_path)
    argv = run["argv"]
    assert isinstance(argv, list)
    assert removal["argv"] == ["rm", "--force", argv[argv.index("--name") + 1]]


def test_what_an_earlier_worker_of_the_same_host_left_is_removed(tmp_path: Path) -> None:
    level = engine(tmp_path)
    level.remove_leftovers()
    asking, removal = told(tmp_path)
    assert asking["argv"] == ["ps", "--all", "--quiet", "--filter", f"label=fettle.host={level.owner}"]
    assert removal["argv"] == ["rm", "--force", "one", "two"]
    assert f"fettle.host={level.owner}" in level.plan(spec(tmp_path, level, "true")).argv
    other = container.Container.on("image", level.program, dict(os.environ), tmp_path / "another")
    assert other.owner != level.owner


def test_an_engine_that_is_a_service_does_not_claim_what_it_hides(tmp_path: Path) -> None:
    client = tmp_path / "docker"
    client.write_text("#!/bin/sh\n")
    client.chmod(0o755)
    assert Wall.FILES not in container.Container.on("image", "docker", {"PATH": str(tmp_path)}, tmp_path).walls
    level = engine(tmp_path)
    assert level.walls == frozenset(Wall)
    remote = {"PATH": str(Path(level.program).parent), "CONTAINER_HOST": "ssh://elsewhere"}
    assert Wall.FILES not in container.Container.on("image", "podman", remote, tmp_path).walls


async def test_a_user_of_podman_stays_the_same_user_inside(tmp_path: Path) -> None:
    level = dataclasses.replace(engine(tmp_path), uid=1234, gid=1234)
    argv = level.plan(spec(tmp_path, level, "true")).argv
    place = argv.index("--user")
    assert argv[place : place + 4] == ("--user", "1234:1234", "--userns", "keep-id")


async def test_an_agents_own_image_goes_before_the_hosts(tmp_path: Path) -> None:
    level = engine(tmp_path)
    launch = level.plan(dataclasses.replace(spec(tmp_path, level, "agent"), image="image-of-the-agent"))
    assert launch.argv[launch.argv.index("--entrypoint") + 2] == "image-of-the-agent"


async def test_the_way_out_is_one_socket(tmp_path: Path) -> None:
    level = engine(tmp_path)
    launch = level.plan(dataclasses.replace(spec(tmp_path, level, "agent"), network=tmp_path / "proxy.sock"))
    assert f"type=bind,source={tmp_path / 'proxy.sock'},target={spec_.WAY_OUT}" in launch.argv
    entry = launch.argv[launch.argv.index("--entrypoint") + 1 :]
    assert (entry[:4], Path(entry[4]).name) == (("python3", "image", "-I", "-S"), "bridge.py")
    assert launch.argv[-2:] == ("--", "agent")


async def test_without_an_image_nothing_starts(tmp_path: Path) -> None:
    level = container.Container.on("", "", {"PATH": str(engine(tmp_path).program.rpartition("/")[0])}, tmp_path)
    with pytest.raises(errors.AgentUnavailable, match="set FETTLE_SANDBOX_IMAGE"):
        await process.capture(spec(tmp_path, level, "true"), seconds=5)
