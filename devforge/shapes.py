"""How users, apps, repositories, labels and commits look on the wire. Fields follow GitHub's OpenAPI description."""

from typing import Any

from devforge import database, git, state

_NO_REACTIONS = ("+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes")
_USER_LINKS = {
    "followers_url": "followers",
    "following_url": "following{/other_user}",
    "gists_url": "gists{/gist_id}",
    "starred_url": "starred{/owner}{/repo}",
    "subscriptions_url": "subscriptions",
    "organizations_url": "orgs",
    "repos_url": "repos",
    "events_url": "events{/privacy}",
    "received_events_url": "received_events",
}
_REPOSITORY_LINKS = {
    "archive_url": "{archive_format}{/ref}",
    "assignees_url": "assignees{/user}",
    "blobs_url": "git/blobs{/sha}",
    "branches_url": "branches{/branch}",
    "collaborators_url": "collaborators{/collaborator}",
    "comments_url": "comments{/number}",
    "commits_url": "commits{/sha}",
    "compare_url": "compare/{base}...{head}",
    "contents_url": "contents/{+path}",
    "contributors_url": "contributors",
    "deployments_url": "deployments",
    "downloads_url": "downloads",
    "events_url": "events",
    "forks_url": "forks",
    "git_commits_url": "git/commits{/sha}",
    "git_refs_url": "git/refs{/sha}",
    "git_tags_url": "git/tags{/sha}",
    "hooks_url": "hooks",
    "issue_comment_url": "issues/comments{/number}",
    "issue_events_url": "issues/events{/number}",
    "issues_url": "issues{/number}",
    "keys_url": "keys{/key_id}",
    "labels_url": "labels{/name}",
    "languages_url": "languages",
    "merges_url": "merges",
    "milestones_url": "milestones{/number}",
    "notifications_url": "notifications{?since,all,participating}",
    "pulls_url": "pulls{/number}",
    "releases_url": "releases{/id}",
    "stargazers_url": "stargazers",
    "statuses_url": "statuses/{sha}",
    "subscribers_url": "subscribers",
    "subscription_url": "subscription",
    "tags_url": "tags",
    "teams_url": "teams",
    "trees_url": "git/trees{/sha}",
}


def api(forge: state.Forge, repo: database.Row, path: str = "") -> str:
    """The API address of something in a repository."""
    return f"{forge.url}/repos/{repo['owner']}/{repo['name']}{'/' if path else ''}{path}"


def page(forge: state.Forge, repo: database.Row, path: str = "") -> str:
    """The HTML address of something in a repository."""
    return f"{forge.url}/{repo['owner']}/{repo['name']}{'/' if path else ''}{path}"


def node(prefix: str, row_id: int) -> str:
    """A global node id."""
    return f"{prefix}_{row_id:012d}"


def user(forge: state.Forge, row: database.Row) -> dict[str, Any]:
    """GitHub's simple user."""
    base = f"{forge.url}/users/{row['login']}"
    links = {name: f"{base}/{path}" for name, path in _USER_LINKS.items()}
    return {
        "login": row["login"],
        "id": row["id"],
        "node_id": node("U", row["id"]),
        "avatar_url": f"{forge.url}/_static/avatar.svg",
        "gravatar_id": "",
        "url": base,
        "html_url": f"{forge.url}/{row['login']}",
        **links,
        "type": row["type"],
        "user_view_type": "public",
        "site_admin": row["login"] == state.ADMIN_LOGIN,
    }


def user_by_id(forge: state.Forge, user_id: int | None) -> dict[str, Any] | None:
    """The user with this id, or None."""
    row = forge.db.one("SELECT * FROM users WHERE id = ?", user_id) if user_id else None
    return None if row is None else user(forge, row)


def app(forge: state.Forge, app_id: int) -> dict[str, Any]:
    """GitHub's integration."""
    row = forge.db.get("SELECT * FROM apps WHERE id = ?", app_id)
    return {
        "id": row["id"],
        "slug": row["slug"],
        "node_id": node("A", row["id"]),
        "client_id": row["client_id"],
        "owner": user_by_id(forge, row["owner_id"]),
        "name": row["name"],
        "description": None,
        "external_url": f"{forge.url}/apps/{row['slug']}",
        "html_url": f"{forge.url}/apps/{row['slug']}",
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "permissions": database.load(row["permissions"]),
        "events": database.load(row["events"]),
        "installations_count": forge.db.scalar("SELECT count(*) FROM installations WHERE app_id = ?", row["id"]),
    }


def permissions(level: str) -> dict[str, bool]:
    """A permission level as the five flags of a repository."""
    order = ("read", "triage", "write", "maintain", "admin")
    rank = order.index(level) if level in order else -1
    names = ("pull", "triage", "push", "maintain", "admin")
    return {name: position <= rank for position, name in enumerate(names)}


def minimal_repository(forge: state.Forge, repo: database.Row, level: str | None = None) -> dict[str, Any]:
    """GitHub's minimal repository: what lists and check suites carry."""
    base = api(forge, repo)
    found: dict[str, Any] = {
        "id": repo["id"],
        "node_id": node("R", repo["id"]),
        "name": repo["name"],
        "full_name": f"{repo['owner']}/{repo['name']}",
        "private": bool(repo["private"]),
        "owner": user_by_id(forge, repo["owner_id"]),
        "html_url": page(forge, repo),
        "description": repo["description"],
        "fork": False,
        "url": base,
        "default_branch": repo["default_branch"],
        "created_at": repo["created_at"],
        "updated_at": repo["updated_at"],
        "pushed_at": repo["pushed_at"],
        **{name: f"{base}/{path}" for name, path in _REPOSITORY_LINKS.items()},
    }
    if level is not None:
        found["permissions"] = permissions(level)
    return found


def repository(forge: state.Forge, repo: database.Row, level: str | None = None) -> dict[str, Any]:
    """GitHub's full repository."""
    clone = f"{page(forge, repo)}.git"
    count = forge.db.scalar("SELECT count(*) FROM issues WHERE repo_id = ? AND state = 'open'", repo["id"])
    zeros = ("stargazers_count", "watchers_count", "watchers", "forks_count", "forks", "size")
    return {
        **minimal_repository(forge, repo, level),
        **dict.fromkeys(zeros, 0),
        "network_count": 0,
        "subscribers_count": 0,
        "open_issues_count": count,
        "open_issues": count,
        "git_url": clone,
        "ssh_url": clone,
        "clone_url": clone,
        "svn_url": clone,
        "mirror_url": None,
        "homepage": None,
        "language": None,
        "license": None,
        "topics": [],
        "has_issues": True,
        "has_projects": False,
        "has_wiki": False,
        "has_pages": False,
        "has_downloads": False,
        "has_discussions": False,
        "archived": False,
        "disabled": False,
        "visibility": "private" if repo["private"] else "public",
        "is_template": False,
        "allow_forking": False,
        "allow_merge_commit": True,
        "allow_squash_merge": True,
        "allow_rebase_merge": True,
        "allow_auto_merge": False,
        "delete_branch_on_merge": False,
        "web_commit_signoff_required": False,
    }


def label(forge: state.Forge, repo: database.Row, row: database.Row) -> dict[str, Any]:
    """A label."""
    return {
        "id": row["id"],
        "node_id": node("LA", row["id"]),
        "url": api(forge, repo, f"labels/{row['name']}"),
        "name": row["name"],
        "description": row["description"],
        "color": row["color"],
        "default": False,
    }


def reactions(url: str) -> dict[str, Any]:
    """No reactions: the forge has none."""
    return {"url": f"{url}/reactions", "total_count": 0, **dict.fromkeys(_NO_REACTIONS, 0)}


def association(forge: state.Forge, repo: database.Row, user_id: int) -> str:
    """How an author belongs to a repository."""
    if user_id == repo["owner_id"]:
        return "OWNER"
    member = forge.db.one("SELECT 1 FROM collaborators WHERE repo_id = ? AND user_id = ?", repo["id"], user_id)
    return "COLLABORATOR" if member else "NONE"


def _user_by_email(forge: state.Forge, email: str) -> dict[str, Any] | None:
    row = forge.db.one("SELECT * FROM users WHERE email = ?", email) if email else None
    return None if row is None else user(forge, row)


def commit(forge: state.Forge, repo: database.Row, found: git.Commit) -> dict[str, Any]:
    """A commit of the commits API."""
    url = api(forge, repo, f"commits/{found.sha}")
    people = {
        role: {"name": person.name, "email": person.email, "date": person.date}
        for role, person in (("author", found.author), ("committer", found.committer))
    }
    return {
        "sha": found.sha,
        "node_id": f"C_{found.sha}",
        "commit": {
            **people,
            "message": found.message.rstrip("\n"),
            "tree": {"sha": found.tree, "url": api(forge, repo, f"git/trees/{found.tree}")},
            "url": api(forge, repo, f"git/commits/{found.sha}"),
            "comment_count": 0,
            "verification": {
                "verified": False,
                "reason": "unsigned",
                "signature": None,
                "payload": None,
                "verified_at": None,
            },
        },
        "url": url,
        "html_url": page(forge, repo, f"commit/{found.sha}"),
        "comments_url": f"{url}/comments",
        "author": _user_by_email(forge, found.author.email),
        "committer": _user_by_email(forge, found.committer.email),
        "parents": [
            {
                "sha": sha,
                "url": api(forge, repo, f"commits/{sha}"),
                "html_url": page(forge, repo, f"commit/{sha}"),
            }
            for sha in found.parents
        ],
    }


def simple_commit(found: git.Commit) -> dict[str, Any]:
    """The short commit of push events and check suites."""
    return {
        "id": found.sha,
        "tree_id": found.tree,
        "message": found.message.rstrip("\n"),
        "timestamp": found.author.date,
        "author": {"name": found.author.name, "email": found.author.email},
        "committer": {"name": found.committer.name, "email": found.committer.email},
    }
