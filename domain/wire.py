"""Every name that crosses a process: a leaf that both sides import.

Renaming a Python function never changes a name here, and a name here never changes once a history holds it.
"""

from typing import Final

# --- workflows -------------------------------------------------------------------------------------------------
ISSUE_WORKFLOW: Final = "IssueWorkflow"
IMPLEMENT_WORKFLOW: Final = "ImplementWorkflow"
MERGE_QUEUE_WORKFLOW: Final = "MergeQueueWorkflow"
REPOSITORY_WORKFLOW: Final = "RepositoryWorkflow"
FLEET_WORKFLOW: Final = "FleetWorkflow"
ISSUE_INTAKE_WORKFLOW: Final = "IssueIntake"
BREAKDOWN_WORKFLOW: Final = "BreakdownWorkflow"

# --- task queues -----------------------------------------------------------------------------------------------
CONTROL_QUEUE: Final = "fettle"
AGENTS_QUEUE: Final = "fettle-agents"
HOST_QUEUE_PREFIX: Final = "fettle-host/"

# --- worker deployment (versioning) ----------------------------------------------------------------------------
DEPLOYMENT: Final = "fettle"

# --- activities ------------------------------------------------------------------------------------------------
OPEN_RUN: Final = "open_run"
JUDGE_TRIAGE: Final = "judge_triage"
CLAIM_ISSUE: Final = "claim_issue"
WATCH_DEPENDENCIES: Final = "watch_dependencies"
REQUEST_ADMISSION: Final = "request_admission"
CLAIM_HOST: Final = "claim_host"
PREPARE_WORKTREE: Final = "prepare_worktree"
RUN_AGENT: Final = "run_agent"
INTEGRATE_WORK: Final = "integrate_work"
SURVEY_WORKTREE: Final = "survey_worktree"
VERIFY_COMMIT: Final = "verify_commit"
RELEASE_HOST: Final = "release_host"
PUBLISH_PULL_REQUEST: Final = "publish_pull_request"
INSPECT_HEAD: Final = "inspect_head"
JUDGE_REVIEW: Final = "judge_review"
POST_REVIEW: Final = "post_review"
POLL_CHECKS: Final = "poll_checks"
MARK_READY: Final = "mark_ready"
WATCH_GATE: Final = "watch_gate"
REQUEST_MERGE: Final = "request_merge"
ASK_CLEARANCE: Final = "ask_clearance"
BUILD_CANDIDATE: Final = "build_candidate"
MERGE_CANDIDATE: Final = "merge_candidate"
CLOSE_RUN: Final = "close_run"
START_RUNS: Final = "start_runs"
REGISTER_REPOSITORY: Final = "register_repository"
FIND_ENDED_RUNS: Final = "find_ended_runs"
PREDICT_CONFLICTS: Final = "predict_conflicts"
BEGIN_TURN: Final = "begin_turn"
END_TURN: Final = "end_turn"
SURVEY_REPOSITORY: Final = "survey_repository"
JUDGE_BREAKDOWN: Final = "judge_breakdown"
PLAN_ISSUES: Final = "plan_issues"
FILE_ISSUE: Final = "file_issue"
POST_CHECKLIST: Final = "post_checklist"

WATCHES: Final = (POLL_CHECKS, WATCH_GATE, WATCH_DEPENDENCIES)
"""Slow polls. A webhook resets such an activity, which then polls at once and adds nothing to the history; a lost
webhook costs one poll interval."""

# --- updates (validated; a refusal leaves nothing in the history) ------------------------------------------------
DECIDE: Final = "decide"
HOLD: Final = "hold"
RELEASE: Final = "release"
RETRY: Final = "retry"
EDIT: Final = "edit"
CONFIGURE: Final = "configure"
ADMIT: Final = "admit"
CLEAR_MERGE: Final = "clear_merge"
TAKE_TURN: Final = "take_turn"
SETTLE_TURN: Final = "settle_turn"
TELL_END: Final = "tell_end"
CHANGE_AGENTS: Final = "change_agents"
CHANGE_BUDGETS: Final = "change_budgets"
TAKE_OVER: Final = "take_over"
HAND_BACK: Final = "hand_back"

# --- signals: people (for `temporal workflow signal`), then workflows among themselves ----------------------------
SIGNAL_APPROVE: Final = "approve"
SIGNAL_REJECT: Final = "reject"
SIGNAL_HOLD: Final = "hold"
SIGNAL_RELEASE: Final = "release"
ISSUE_CHANGED: Final = "issue_changed"
HOLD_CHANGED: Final = "hold_changed"
ADMITTED: Final = "admitted"
ADMISSION_WAITS: Final = "admission_waits"
ADMISSION_ENDED: Final = "admission_ended"
FLEET_SETTINGS: Final = "fleet_settings"
REPOSITORY_SEEN: Final = "repository_seen"
MERGE_REQUESTED: Final = "merge_requested"
MERGE_WITHDRAWN: Final = "merge_withdrawn"
MERGE_ENDED: Final = "merge_ended"

# --- queries ---------------------------------------------------------------------------------------------------
SNAPSHOT: Final = "snapshot"
TURNS: Final = "turns"

# --- search attributes (registered once per namespace; all keyword but the last) ---------------------------------
SA_KIND: Final = "FettleKind"
SA_REPO: Final = "FettleRepo"
SA_PHASE: Final = "FettlePhase"
SA_HOLD: Final = "FettleHold"
SA_SEVERITY: Final = "FettleSeverity"
SA_AGENT: Final = "FettleAgent"
SA_NEEDS_HUMAN: Final = "FettleNeedsHuman"
KEYWORD_ATTRIBUTES: Final = (SA_KIND, SA_REPO, SA_PHASE, SA_HOLD, SA_SEVERITY, SA_AGENT)
BOOL_ATTRIBUTES: Final = (SA_NEEDS_HUMAN,)

# --- labels on the forge: what a person sees and sets ------------------------------------------------------------
LABEL_TRIGGER: Final = "fettle"
LABEL_IN_PROGRESS: Final = "fettle-in-progress"
LABEL_DONE: Final = "fettle-done"
LABEL_FAILED: Final = "fettle-failed"
LABEL_CANCELLED: Final = "fettle-cancelled"
LABEL_REJECTED: Final = "fettle-rejected"
TERMINAL_LABELS: Final = (LABEL_DONE, LABEL_FAILED, LABEL_CANCELLED, LABEL_REJECTED)

# --- branches --------------------------------------------------------------------------------------------------
WORK_BRANCH_PREFIX: Final = "fettle/issue-"
QUEUE_BRANCH_PREFIX: Final = "fettle/queue/"
