"""Authorised calls to GitHub: our identity, conditional reads, pages and GraphQL. No call is made twice in here."""

import collections
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import pydantic

from domain import errors, refs
from integrations.forge import auth, http, http_errors

PER_PAGE: Final = 100
MAX_PAGES: Final = 300
"""GitHub itself stops lists at about this depth; a list that goes on is a server that repeats itself."""
_CACHED_ANSWERS: Final = 512
_Model = TypeVar("_Model", bound=pydantic.BaseModel)


@dataclass(frozen=True)
class _Kept:
    etag: str
    answer: http.Answer


class Api:
    """What every part of the adapter calls through.

    Reads are always fresh: an answer is kept only to ask whether it still holds, which costs no quota when it does.
    """

    def __init__(self, transport: http.Transport, identity: auth.Auth) -> None:
        self._transport = transport
        self._auth = identity
        self._kept: collections.OrderedDict[str, _Kept] = collections.OrderedDict()
        self._login = ""

    @property
    def identity(self) -> auth.Auth:
        return self._auth

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def login(self) -> str:
        if not self._login:
            self._login = await self._auth.login()
        return self._login

    async def is_me(self, login: str) -> bool:
        return bool(login) and login.casefold() == (await self.login()).casefold()

    async def get(
        self, repo: refs.Repository, path: str, model: type[_Model], *, to: str, conditional: bool = True
    ) -> _Model:
        """Read one object. `conditional=False` where GitHub changes what it says without changing the ETag."""
        call = http.Call("GET", path, to=to)
        answer = await (self._revalidated(repo, call) if conditional else self._send(repo, call))
        return http.parse(model, answer.data, to=to)

    async def pages(
        self,
        repo: refs.Repository,
        path: str,
        model: type[_Model],
        *,
        to: str,
        params: Mapping[str, str | int] | None = None,
        under: str = "",
        first_pages: int | None = None,
    ) -> list[_Model]:
        """Every item of a list, all pages or the first few; `under` names the key of the list, if it is not the answer.

        Raises:
            errors.InvalidRequest: the list has no end.
        """
        items: list[_Model] = []
        call = http.Call("GET", path, to=to, params={"per_page": PER_PAGE, **(params or {})})
        for _ in range(first_pages or MAX_PAGES):
            answer = await self._revalidated(repo, call)
            items += [http.parse(model, item, to=to) for item in _listed(answer.data, under, to=to)]
            if not answer.next_page:
                return items
            call = http.Call("GET", answer.next_page, to=to)
        if first_pages is not None:
            return items
        raise errors.InvalidRequest(
            f"could not {to}: the list goes on after {MAX_PAGES} pages of {PER_PAGE}, more than GitHub itself lists; "
            "check that api_url is a forge's API, or shorten the list there"
        )

    async def text(self, repo: refs.Repository, path: str, *, accept: str, to: str) -> str:
        answer = await self._send(repo, http.Call("GET", path, to=to, accept=accept))
        return str(answer.data)

    async def write(
        self,
        repo: refs.Repository,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        to: str,
        refusals: Mapping[int, http_errors.Refusal] | None = None,
    ) -> http.Answer:
        return await self._send(repo, http.Call(method, path, to=to, body=body, refusals=refusals or {}))

    async def graphql(self, repo: refs.Repository, query: str, variables: Mapping[str, object], *, to: str) -> Any:
        """The `data` of a GraphQL answer without errors."""
        body = {"query": query, "variables": dict(variables)}
        answer = await self._send(repo, http.Call("POST", self._transport.graphql_path, to=to, body=body))
        data = answer.data if isinstance(answer.data, dict) else {}
        if problems := data.get("errors"):
            raise http_errors.of_graphql(problems, to=to, headers=answer.headers, now=self._transport.now())
        if not isinstance(data.get("data"), dict):
            raise errors.ForgeUnavailable(
                f"could not {to}: the GraphQL answer has neither data nor errors; "
                "whether it was done is unknown: look it up before doing it again"
            )
        return data["data"]

    async def _send(self, repo: refs.Repository, call: http.Call, *, etag: str = "") -> http.Answer:
        token = await self._auth.token(repo)
        try:
            answer = await self._transport.send(call, authorization=f"Bearer {token}", etag=etag)
        except errors.BadCredentials as refusal:
            meaning = self._auth.refused(token, refusal)
            if meaning is refusal:  # an error that is its own cause would have no end
                raise
            raise meaning from refusal
        self._auth.worked(token)
        return answer

    async def _revalidated(self, repo: refs.Repository, call: http.Call) -> http.Answer:
        key = f"{call.path}?{urllib.parse.urlencode(call.params)}"
        kept = self._kept.get(key)
        answer = await self._send(repo, call, etag=kept.etag if kept else "")
        if answer.status == 304 and kept:
            self._kept.move_to_end(key)
            return kept.answer
        self._kept.pop(key, None)
        if etag := answer.headers.get("etag"):
            self._kept[key] = _Kept(etag, answer)
            while len(self._kept) > _CACHED_ANSWERS:
                self._kept.popitem(last=False)
        return answer


class Part:
    """A group of the adapter's methods."""

    def __init__(self, api: Api) -> None:
        self._api = api


def at(repo: refs.Repository, *parts: str | int) -> str:
    """Path below a repository. Each part is one segment: a slash inside it is quoted."""
    return "/".join(["/repos", *(segment(part) for part in (repo.owner, repo.name, *parts))])


def segment(part: str | int) -> str:
    """`.` and `..` are quoted too, so that no name can climb to another path."""
    text = urllib.parse.quote(str(part), safe="")
    return text.replace(".", "%2E") if text in {".", ".."} else text


def _listed(data: object, under: str, *, to: str) -> list[object]:
    held = data.get(under) if under and isinstance(data, dict) else data
    if not isinstance(held, list):
        raise errors.ForgeUnavailable(
            f"could not {to}: expected a list{f' under {under}' if under else ''}, the answer holds "
            f"{type(held).__name__}; check that api_url is a forge's API, then try again"
        )
    return held
