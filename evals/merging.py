"""What Fettle itself adds between an issue and its merge: the agent writes one file, CI answers at once."""

from evals import ground, histories, scoreboard

INTAKE_SECONDS = 5
"""How often the forge is asked for new issues where no webhook tells; CI is asked every `CI_POLL_SECONDS`."""
CI_POLL_SECONDS = 2
_LONGEST_SECONDS = 120
_GOAL_P50 = 3.0


async def with_webhooks(count: int) -> list[scoreboard.Row]:
    """Runs one after another on one repository, every event told by a webhook."""
    async with ground.prepared({}) as place:
        runs = await _one_after_another(place, count, webhooks=True)
    rows = _rows("issue-to-merge", runs, "webhooks on; default poll intervals")
    rows[0].goal = _GOAL_P50
    events = scoreboard.spread([run.events for _, run in runs])
    rows.append(
        scoreboard.Row(
            name="events-per-run",
            what="history events of a run and its implementation round, p50",
            value=events["p50"],
            unit="events",
            detail=scoreboard.rounded(events),
        )
    )
    return rows


async def without_webhooks(count: int) -> list[scoreboard.Row]:
    """The same while nobody tells: every step that waits for the forge waits for a poll."""
    intervals = {
        "FETTLE_INTAKE_INTERVAL_SECONDS": str(INTAKE_SECONDS),
        "FETTLE_CI_POLL_SECONDS": str(CI_POLL_SECONDS),
    }
    async with ground.prepared(intervals) as place:
        runs = await _one_after_another(place, count, webhooks=False)
    words = f"webhooks off; intake every {INTAKE_SECONDS} s, CI asked every {CI_POLL_SECONDS} s"
    return _rows("issue-to-merge-polled", runs, words)


_Run = tuple[ground.Filed, histories.Ended]


async def _one_after_another(place: ground.Ground, count: int, *, webhooks: bool) -> list[_Run]:
    repo = await place.repository("merging", webhooks=webhooks)
    place.script(repo, count + 1)
    filed = []
    for number in range(count + 1):
        filed.append(await place.file(repo))
        await place.ended(filed[-1], _LONGEST_SECONDS)
        if number % 10 == 0:
            ground.progress(f"{number} of {count} runs are merged")
    # The first one pays for what is made once: the mirror, the entities, imports and connections.
    return [(each, await histories.read(place.client, each.issue)) for each in filed[1:]]


def _rows(name: str, runs: list[_Run], words: str) -> list[scoreboard.Row]:
    merged = [(run.merged - filed.at).total_seconds() for filed, run in runs if run.merged]
    closed = [(run.closed - filed.at).total_seconds() for filed, run in runs]
    found = scoreboard.spread(merged)
    detail = {
        "merged_seconds": scoreboard.rounded(found),
        "closed_seconds": scoreboard.rounded(scoreboard.spread(closed)),
        "until_started_seconds": scoreboard.rounded(
            scoreboard.spread([(run.started - filed.at).total_seconds() for filed, run in runs])
        ),
        "run_seconds_by_cause": histories.totals(run.segments for _, run in runs),
        "child_seconds_by_cause": histories.totals(run.child_segments for _, run in runs),
    }
    what = f"from filing the issue to its merge, {len(merged)} runs one after another; {words}"
    return [
        scoreboard.Row(name=f"{name}-p50", what=what, value=found["p50"], unit="s", detail=detail),
        scoreboard.Row(name=f"{name}-p95", what="the same, p95", value=found["p95"], unit="s"),
    ]
