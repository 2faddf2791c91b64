"""The ASGI application: every route, and the background work that lives as long as the server."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from devforge import (
    accounts,
    admin,
    branches,
    checks,
    ci_runner,
    comments,
    commits,
    errors,
    git_http,
    graphql,
    hooks,
    issues,
    labels,
    observe,
    pages,
    pull_merge,
    pulls,
    refs,
    repositories,
    rest,
    reviews,
    state,
    statuses,
    webhooks,
)

# Order matters where one path pattern includes another: refs with slashes before the plain ones.
_MODULES = (
    admin,
    accounts,
    hooks,
    comments,
    labels,
    issues,
    pull_merge,
    reviews,
    pulls,
    refs,
    branches,
    checks,
    statuses,
    commits,
    repositories,
    graphql,
    git_http,
    pages,
)
RECONCILE_AGAIN_SECONDS = 5.0
_LOG = logging.getLogger(__name__)


class _ApiPrefix:
    """Serve the API under `/api/v3` too, the address that clients of an enterprise server expect."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        for prefix, instead in (("/api/v3/", "/"), ("/api/graphql", "/graphql")):
            if path.startswith(prefix):
                scope = {**scope, "path": instead + path[len(prefix) :]}
        await self._app(scope, receive, send)


def create_app(forge: state.Forge) -> ASGIApp:
    """The application of one forge. Its background work runs between lifespan start-up and shutdown."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        git_http.install_hook(forge)
        await reconcile(forge)
        tasks = [
            asyncio.create_task(work(forge))
            for work in (ci_runner.run_forever, webhooks.deliver_forever, _reconcile_later)
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            forge.close()

    routes: list[Route] = [route for module in _MODULES for route in module.ROUTES]
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={404: _unknown, 405: _unknown})
    app.add_exception_handler(errors.GitFailed, _git_failed)
    app.state.forge = forge
    return _ApiPrefix(app)


async def reconcile(forge: state.Forge) -> None:
    """Finish what a killed server left between moving a ref and storing what follows from it."""
    actor = forge.db.scalar("SELECT id FROM users WHERE login = ?", state.ADMIN_LOGIN)
    for row in forge.db.all("SELECT id FROM repositories"):
        if forge.git_dir(row["id"]).exists():
            async with forge.lock(row["id"]):
                await observe.refs(forge, repositories.get_row(forge, row["id"]), actor)


async def _reconcile_later(forge: state.Forge) -> None:
    """Look once more: a git process that outlived the killed server may have moved a ref after the first look."""
    await asyncio.sleep(RECONCILE_AGAIN_SECONDS)
    await reconcile(forge)


async def _unknown(request: Request, _: Exception) -> Response:
    return pages.not_found(request)


async def _git_failed(_: Request, problem: Exception) -> Response:
    _LOG.error("%s", problem)
    return rest.answer({"message": "Server Error", "documentation_url": errors.DOCUMENTATION}, 500)
