"""pages"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

ROUTES: list[Route] = []


def not_found(_: Request) -> Response:
    """404."""
    return Response("not found", 404)
