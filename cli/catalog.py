"""Every command: where it lives, its first line of help, an example. `fettle --help` reads this table alone."""

from typing import Final, NamedTuple


class Entry(NamedTuple):
    """`name` has two words for the command of a group. `module` is imported when the command is used."""

    name: str
    module: str
    function: str
    help: str
    example: str
    panel: str = ""


_RUN: Final = "Start"
_SEE: Final = "See"
_STEER: Final = "Steer"
_OPERATE: Final = "Operate"

GROUPS: Final = {
    "worker": ("Run one worker process, or list who polls.", _OPERATE),
    "schedules": ("List and steer the schedules that look for new issues.", _OPERATE),
    "repo": ("Register repositories and set their policy.", _OPERATE),
    "agents": ("See and change the agents of the pool.", _OPERATE),
    "budget": ("See and change what may be spent.", _OPERATE),
    "graph": ("Ask the code: where to look, what a change can break, which two changes collide.", _SEE),
}


def _group(name: str, *commands: tuple[str, str, str, str]) -> tuple[Entry, ...]:
    """Commands of one group, in the module of its name: word, function, help, and the example after `fettle NAME`."""
    return tuple(
        Entry(f"{name} {word}", f"cli.commands.{name}", function, help, f"fettle {name} {example}")
        for word, function, help, example in commands
    )


COMMANDS: Final = (
    Entry(
        "demo",
        "cli.commands.demo",
        "demo",
        "Take a real issue on an embedded forge to a merged pull request, live.",
        "fettle demo",
        _RUN,
    ),
    Entry(
        "up",
        "cli.commands.up",
        "up",
        "Start everything on this machine: server, workers, web, schedules.",
        "fettle up",
        _RUN,
    ),
    Entry(
        "run",
        "cli.commands.run",
        "run",
        "Work on an issue in a copy of your own repository.",
        "fettle run --repo . --title 'Fix the rounding'",
        _RUN,
    ),
    Entry(
        "breakdown",
        "cli.commands.breakdown",
        "breakdown",
        "Turn a spec into issues with labels and dependencies; a dry run without --apply.",
        "fettle breakdown SPEC.md --repo acme/api",
        _RUN,
    ),
    Entry(
        "devforge",
        "cli.commands.devforge",
        "devforge",
        "Start the small GitHub-compatible forge for trials and tests.",
        "fettle devforge",
        _RUN,
    ),
    Entry("fleet", "cli.commands.fleet", "fleet", "Show the runs and what they wait for.", "fettle fleet --once", _SEE),
    Entry(
        "status",
        "cli.commands.status",
        "status",
        "Show everything about one run.",
        "fettle status acme/api#12",
        _SEE,
    ),
    Entry(
        "explain",
        "cli.commands.explain",
        "explain",
        "Say what a run waits for, whose move it is and what to do.",
        "fettle explain acme/api#12",
        _SEE,
    ),
    Entry("logs", "cli.commands.logs", "logs", "Print what the agent does.", "fettle logs acme/api#12 --follow", _SEE),
    Entry(
        "approve",
        "cli.commands.approve",
        "approve",
        "Approve a run at its gate, for exactly the head you saw.",
        "fettle approve acme/api#12 --head 3f2c1ab",
        _STEER,
    ),
    Entry(
        "reject",
        "cli.commands.reject",
        "reject",
        "Reject a run; it ends and nothing is merged.",
        'fettle reject acme/api#12 --note "wrong approach"',
        _STEER,
    ),
    Entry(
        "takeover",
        "cli.commands.takeover",
        "takeover",
        "Take a run's worktree and session over, at a safe point.",
        "fettle takeover acme/api#12",
        _STEER,
    ),
    Entry(
        "handback",
        "cli.commands.handback",
        "handback",
        "Hand a run back that you had taken over; your changes are recorded.",
        'fettle handback acme/api#12 --note "fixed the rounding by hand"',
        _STEER,
    ),
    Entry(
        "hold",
        "cli.commands.hold",
        "hold",
        "Hold a run before its next step.",
        'fettle hold acme/api#12 --note "release day"',
        _STEER,
    ),
    Entry("release", "cli.commands.release", "release", "Let a held run go on.", "fettle release acme/api#12", _STEER),
    Entry(
        "retry",
        "cli.commands.retry",
        "retry",
        "Try a stuck run's step again, or start a failed, rejected or cancelled run anew.",
        "fettle retry acme/api#12",
        _STEER,
    ),
    Entry(
        "edit",
        "cli.commands.edit",
        "edit",
        "Change prompt, model, agent or priority of a run in flight.",
        'fettle edit acme/api#12 --prompt "keep the old signature"',
        _STEER,
    ),
    Entry(
        "cancel",
        "cli.commands.cancel",
        "cancel",
        "Cancel a run and wait until nothing of it lives.",
        'fettle cancel acme/api#12 --reason "not needed"',
        _STEER,
    ),
    Entry(
        "pause",
        "cli.commands.pause",
        "pause",
        "Pause the fleet: no new run is admitted, runs that work go on.",
        'fettle pause --note "incident"',
        _STEER,
    ),
    Entry("resume", "cli.commands.resume", "resume", "Resume the paused fleet.", "fettle resume", _STEER),
    Entry(
        "mode",
        "cli.commands.mode",
        "mode",
        "Show or change how much a person decides, for new runs.",
        "fettle mode review-merge",
        _STEER,
    ),
    Entry(
        "doctor",
        "cli.commands.doctor",
        "doctor",
        "Check this installation and say what to do about each problem.",
        "fettle doctor",
        _OPERATE,
    ),
    Entry(
        "hosts",
        "cli.commands.hosts",
        "hosts",
        "List the agent hosts with their slots, runs, agents and sandbox.",
        "fettle hosts",
        _OPERATE,
    ),
    Entry(
        "cost",
        "cli.commands.cost",
        "cost",
        "Add up what the agents' turns have cost.",
        "fettle cost --by agent --since 7d",
        _SEE,
    ),
    Entry(
        "worker control",
        "cli.commands.worker",
        "control",
        "Run a control worker in the foreground: workflows, forge, store.",
        "fettle worker control",
    ),
    Entry(
        "worker agents",
        "cli.commands.worker",
        "agents",
        "Run an agent host in the foreground.",
        "fettle worker agents",
    ),
    Entry(
        "worker web",
        "cli.commands.worker",
        "web",
        "Run the webhook intake in the foreground.",
        "fettle worker web",
    ),
    Entry(
        "worker migrate",
        "cli.commands.worker",
        "migrate",
        "Bring the store's schema up to date.",
        "fettle worker migrate",
    ),
    Entry("worker list", "cli.commands.worker", "pollers", "List who polls which task queue.", "fettle worker list"),
    Entry("schedules list", "cli.commands.schedules", "show", "List the intake schedules.", "fettle schedules list"),
    Entry(
        "schedules pause",
        "cli.commands.schedules",
        "pause",
        "Stop looking for new issues.",
        "fettle schedules pause acme/api",
    ),
    Entry(
        "schedules resume",
        "cli.commands.schedules",
        "resume",
        "Look for new issues again.",
        "fettle schedules resume acme/api",
    ),
    Entry(
        "schedules trigger",
        "cli.commands.schedules",
        "trigger",
        "Look for new issues now.",
        "fettle schedules trigger acme/api",
    ),
    Entry(
        "repo add",
        "cli.commands.repo",
        "add",
        "Register a repository after checking that Fettle may work on it.",
        'fettle repo add acme/api --verify "make test"',
    ),
    Entry("repo list", "cli.commands.repo", "show_all", "List the registered repositories.", "fettle repo list"),
    Entry(
        "repo show",
        "cli.commands.repo",
        "show",
        "Show a repository's policy and schedule.",
        "fettle repo show acme/api",
    ),
    Entry(
        "repo set",
        "cli.commands.repo",
        "change",
        "Change settings of a repository; runs that started keep theirs.",
        "fettle repo set acme/api --max-in-flight 2",
    ),
    Entry(
        "repo check",
        "cli.commands.repo",
        "check",
        "Check a WORKFLOW.md: every mistake with its line.",
        "fettle repo check .",
    ),
    Entry(
        "repo remove",
        "cli.commands.repo",
        "remove",
        "Forget a repository; its open runs go on.",
        "fettle repo remove acme/api",
    ),
    Entry(
        "repo learnings",
        "cli.commands.repo",
        "learned",
        "List what runs have learned about a repository.",
        "fettle repo learnings acme/api",
    ),
    *_group(
        "agents",
        ("list", "show_all", "List the agents of the pool.", "list"),
        ("show", "show", "Show one agent with what it inherits.", "show dev-default"),
        ("add", "add", "Add an agent to the pool.", "add security --label security --model opus"),
        ("edit", "edit", "Change an agent, for turns that begin from now on.", "edit security --max-parallel 2"),
        ("remove", "remove", "Take an agent out of the pool.", "remove security"),
        ("pause", "pause", "Give an agent no more turns.", "pause security"),
        ("resume", "resume", "Let a paused agent take turns again.", "resume security"),
        ("type", "change_type", "Set what the agents of a type inherit.", "type dev --backend codex"),
    ),
    *_group(
        "budget",
        ("show", "show", "Show limits, today's money and providers that are left alone.", "show"),
        ("set", "change", "Set limits in dollars.", "set --day 50 --run 5"),
        ("override", "override", "Allow more for a while; it ends by itself.", "override --usd 10 --for 2h"),
        ("clear", "clear", "Ask a provider again that is left alone.", "clear anthropic"),
    ),
    *_group(
        "graph",
        ("index", "index", "Read a revision into the store, and say what was read.", "index --repo ."),
        ("stats", "stats", "Count what a revision holds: languages, skipped files, commits.", "stats --repo ."),
        ("locate", "locate", "Rank the files and definitions that a text asks for.", "locate 'rounding of totals'"),
        ("blast", "blast", "Say what a change can break, and which tests to run.", "blast main..HEAD"),
        ("frames", "frames", "Find the files and definitions of a stack trace.", "frames event.json"),
        ("conflict", "conflict", "Say how likely two pieces of work collide.", "conflict 'round once' @other.md"),
        (
            "map",
            "draw",
            "Draw a map of the code for a text, within a budget.",
            "map 'rounding' --budget 2000",
        ),
        ("explain", "explain", "Say why a file is where it is in a ranking.", "explain 'rounding' src/totals.py"),
    ),
)
