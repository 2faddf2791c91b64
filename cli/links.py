"""Addresses that a person can open: a run in the Temporal Web UI, on the forge."""

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from domain import refs

UI_VARIABLE = "TEMPORAL_UI_URL"


def temporal_ui(up: Mapping[str, Any] | None, namespace: str, issue: refs.Issue, run_id: str) -> str:
    """The run's page; empty where nobody said which UI there is (TEMPORAL_UI_URL, else the embedded server's)."""
    base = os.environ.get(UI_VARIABLE, "") or str((up or {}).get("temporal_ui") or "")
    if not base:
        return ""
    run = f"{quote(issue.workflow_id, safe='')}/{run_id}/history"
    return f"{base.rstrip('/')}/namespaces/{quote(namespace, safe='')}/workflows/{run}"
