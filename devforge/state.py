"""The forge that every module works on: its database, its directories, its locks and its two wake-up events."""

import asyncio
import fcntl
import os
import secrets
from pathlib import Path

from devforge import clock, database, errors

CI_APP = "devforge-ci"
ADMIN_LOGIN = "devforge-admin"
RATE_LIMIT = 15_000
WINDOW_SECONDS = 3600


class Forge:
    """One running forge. All durable state is under `root`; everything else here can be lost at any moment."""

    def __init__(
        self, root: Path, url: str, admin_token: str | None = None, ci_slots: int = 2, rate_limit: int = RATE_LIMIT
    ) -> None:
        """Open or create the state below `root`.

        Args:
            root: the directory that belongs to this forge alone.
            url: the address under which others reach it; becomes part of every link.
            admin_token: what the admin API accepts; without one it is read from, or created in, `root/admin-token`.
            ci_slots: how many CI commands may run at once.
            rate_limit: how many API requests one caller may make in an hour.
        """
        self.root = root
        self.url = url.rstrip("/")
        self._claim = _claim(root)
        self.ci_slots = ci_slots
        self.rate_limit = rate_limit
        for folder in ("repositories", "logs", "hooks", "spool"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        self.db = database.Database(root / "devforge.sqlite")
        self.admin_token = admin_token or _stored_token(root / "admin-token")
        self.ci_wanted = asyncio.Event()
        self.deliveries_wanted = asyncio.Event()
        self.rates: dict[str, tuple[float, int]] = {}
        self._locks: dict[int, asyncio.Lock] = {}
        self._seed()

    def close(self) -> None:
        """Close the database."""
        self.db.close()
        os.close(self._claim)

    def lock(self, repo_id: int) -> asyncio.Lock:
        """The lock that everybody holds who changes refs of this repository."""
        return self._locks.setdefault(repo_id, asyncio.Lock())

    def git_dir(self, repo_id: int) -> Path:
        """The bare repository."""
        return self.root / "repositories" / f"{repo_id}.git"

    def log_path(self, check_run_id: int) -> Path:
        """The file with the complete output of one CI run."""
        return self.root / "logs" / f"{check_run_id}.log"

    def count_request(self, key: str) -> tuple[int, int]:
        """Count one request of a caller; (used in this window, epoch second at which the window ends)."""
        moment = clock.epoch()
        until, used = self.rates.get(key, (0.0, 0))
        if until <= moment:
            until, used = moment + WINDOW_SECONDS, 0
        self.rates[key] = (until, used + 1)
        return used + 1, int(until)

    def _seed(self) -> None:
        """Create the forge's own identities: the site admin and the CI app."""
        if self.db.one("SELECT 1 FROM apps WHERE slug = ?", CI_APP):
            return
        now = clock.now()
        with self.db.transaction():
            admin = self.db.insert(
                "users", login=ADMIN_LOGIN, type="User", email=f"{ADMIN_LOGIN}@devforge.invalid", created_at=now
            )
            bot = self.db.insert(
                "users", login=f"{CI_APP}[bot]", type="Bot", email=f"{CI_APP}@devforge.invalid", created_at=now
            )
            self.db.insert(
                "apps",
                slug=CI_APP,
                name="Devforge CI",
                client_id="Iv1.devforgeci",
                owner_id=admin,
                bot_id=bot,
                permissions=database.dump({"checks": "write", "contents": "read", "metadata": "read"}),
                events="[]",
                created_at=now,
                updated_at=now,
            )


def _claim(root: Path) -> int:
    """Lock the state directory; the open descriptor holds the lock, and dies with the process.

    Raises:
        StartupFailed: another forge works on it.
    """
    root.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as taken:
        os.close(descriptor)
        raise errors.StartupFailed(
            f"Another devforge process works on {root}: stop it, or choose another directory with --state."
        ) from taken
    return descriptor


def _stored_token(path: Path) -> str:
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write("dfa_" + secrets.token_hex(20))
    return path.read_text("ascii").strip()
