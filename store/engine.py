"""Open the store: migrate, connect, hand out the repositories."""

from dataclasses import dataclass

from store import database, inbox, learnings, ledger, migrate, repositories, workflow_files


@dataclass(frozen=True)
class Store:
    """Everything Fettle keeps in SQL, over one pool of connections."""

    database: database.Database
    inbox: inbox.Inbox
    learnings: learnings.Learnings
    repositories: repositories.Repositories
    workflow_files: workflow_files.WorkflowFiles
    ledger: ledger.Ledger

    async def aclose(self) -> None:
        """Close every connection; the store cannot be used afterwards."""
        await self.database.aclose()


async def open_store(url: str) -> Store:
    """Bring the database to this build's schema and connect to it.

    Args:
        url: `sqlite:////path/fettle.db` (folder and file are made) or `postgresql://user:password@host/database`.

    Raises:
        ConfigurationError: the URL is wrong, or the database is somebody else's.
        StoreUnavailable: the database cannot be reached.
    """
    await migrate.upgrade(url)
    opened = database.connect(url)
    return Store(
        database=opened,
        inbox=inbox.Inbox(opened),
        learnings=learnings.Learnings(opened),
        repositories=repositories.Repositories(opened),
        workflow_files=workflow_files.WorkflowFiles(opened),
        ledger=ledger.Ledger(opened),
    )
