-- The whole state of the forge except git objects and CI logs. Times are ISO 8601 UTC, *_at REAL columns are epochs.
CREATE TABLE IF NOT EXISTS users (
  id INTEGER PRIMARY KEY AUTOINCREMENT, login TEXT NOT NULL UNIQUE COLLATE NOCASE, type TEXT NOT NULL,
  name TEXT, email TEXT NOT NULL, created_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tokens (
  id INTEGER PRIMARY KEY AUTOINCREMENT, digest TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, user_id INTEGER NOT NULL,
  installation_id INTEGER, repository_ids TEXT, permissions TEXT, expires_at REAL);
CREATE TABLE IF NOT EXISTS apps (
  id INTEGER PRIMARY KEY AUTOINCREMENT, slug TEXT NOT NULL UNIQUE, name TEXT NOT NULL, client_id TEXT NOT NULL UNIQUE,
  owner_id INTEGER NOT NULL, bot_id INTEGER NOT NULL, public_key TEXT, permissions TEXT NOT NULL, events TEXT NOT NULL,
  created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS installations (
  id INTEGER PRIMARY KEY AUTOINCREMENT, app_id INTEGER NOT NULL, account_id INTEGER NOT NULL,
  repository_ids TEXT, permissions TEXT NOT NULL, created_at TEXT NOT NULL, UNIQUE (app_id, account_id));
CREATE TABLE IF NOT EXISTS repositories (
  id INTEGER PRIMARY KEY AUTOINCREMENT, owner_id INTEGER NOT NULL, name TEXT NOT NULL COLLATE NOCASE,
  private INTEGER NOT NULL, description TEXT, default_branch TEXT NOT NULL, ci_mode TEXT NOT NULL DEFAULT 'run',
  next_number INTEGER NOT NULL DEFAULT 1, created_at TEXT NOT NULL, updated_at TEXT NOT NULL, pushed_at TEXT NOT NULL,
  UNIQUE (owner_id, name));
CREATE TABLE IF NOT EXISTS collaborators (
  repo_id INTEGER NOT NULL, user_id INTEGER NOT NULL, permission TEXT NOT NULL, PRIMARY KEY (repo_id, user_id));
CREATE TABLE IF NOT EXISTS refs (
  repo_id INTEGER NOT NULL, name TEXT NOT NULL, sha TEXT NOT NULL, PRIMARY KEY (repo_id, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS protections (
  repo_id INTEGER NOT NULL, branch TEXT NOT NULL, rules TEXT NOT NULL, PRIMARY KEY (repo_id, branch));
CREATE TABLE IF NOT EXISTS labels (
  id INTEGER PRIMARY KEY AUTOINCREMENT, repo_id INTEGER NOT NULL, name TEXT NOT NULL COLLATE NOCASE,
  color TEXT NOT NULL, description TEXT, UNIQUE (repo_id, name));
CREATE TABLE IF NOT EXISTS issues (
  id INTEGER PRIMARY KEY AUTOINCREMENT, repo_id INTEGER NOT NULL, number INTEGER NOT NULL, title TEXT NOT NULL,
  body TEXT, state TEXT NOT NULL DEFAULT 'open', state_reason TEXT, user_id INTEGER NOT NULL, closed_by INTEGER,
  created_at TEXT NOT NULL, updated_at TEXT NOT NULL, closed_at TEXT, UNIQUE (repo_id, number));
CREATE TABLE IF NOT EXISTS issue_labels (
  issue_id INTEGER NOT NULL, label_id INTEGER NOT NULL, PRIMARY KEY (issue_id, label_id));
CREATE TABLE IF NOT EXISTS issue_assignees (
  issue_id INTEGER NOT NULL, user_id INTEGER NOT NULL, PRIMARY KEY (issue_id, user_id));
CREATE TABLE IF NOT EXISTS pulls (
  issue_id INTEGER PRIMARY KEY, repo_id INTEGER NOT NULL, head_ref TEXT NOT NULL, head_sha TEXT NOT NULL,
  base_ref TEXT NOT NULL, base_sha TEXT NOT NULL, draft INTEGER NOT NULL, merged_at TEXT, merged_by INTEGER,
  merge_sha TEXT, pending_merge_sha TEXT);
CREATE INDEX IF NOT EXISTS pulls_by_head ON pulls (repo_id, head_ref);
CREATE INDEX IF NOT EXISTS pulls_by_sha ON pulls (repo_id, head_sha);
CREATE TABLE IF NOT EXISTS requested_reviewers (
  issue_id INTEGER NOT NULL, user_id INTEGER NOT NULL, PRIMARY KEY (issue_id, user_id));
CREATE TABLE IF NOT EXISTS comments (
  id INTEGER PRIMARY KEY AUTOINCREMENT, issue_id INTEGER NOT NULL, user_id INTEGER NOT NULL, body TEXT NOT NULL,
  created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS comments_by_issue ON comments (issue_id);
CREATE TABLE IF NOT EXISTS timeline (
  id INTEGER PRIMARY KEY AUTOINCREMENT, issue_id INTEGER NOT NULL, user_id INTEGER NOT NULL, event TEXT NOT NULL,
  detail TEXT NOT NULL, created_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS timeline_by_issue ON timeline (issue_id);
CREATE TABLE IF NOT EXISTS reviews (
  id INTEGER PRIMARY KEY AUTOINCREMENT, issue_id INTEGER NOT NULL, user_id INTEGER NOT NULL, state TEXT NOT NULL,
  body TEXT NOT NULL, commit_sha TEXT NOT NULL, submitted_at TEXT);
CREATE INDEX IF NOT EXISTS reviews_by_issue ON reviews (issue_id);
CREATE TABLE IF NOT EXISTS review_comments (
  id INTEGER PRIMARY KEY AUTOINCREMENT, review_id INTEGER NOT NULL, issue_id INTEGER NOT NULL,
  user_id INTEGER NOT NULL, path TEXT NOT NULL, line INTEGER, side TEXT, start_line INTEGER, start_side TEXT,
  position INTEGER, subject TEXT NOT NULL, commit_sha TEXT NOT NULL, hunk TEXT NOT NULL, body TEXT NOT NULL, created_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS review_comments_by_issue ON review_comments (issue_id);
CREATE TABLE IF NOT EXISTS check_suites (
  id INTEGER PRIMARY KEY AUTOINCREMENT, repo_id INTEGER NOT NULL, app_id INTEGER NOT NULL, head_sha TEXT NOT NULL,
  head_branch TEXT, before_sha TEXT, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
  UNIQUE (repo_id, app_id, head_sha));
CREATE TABLE IF NOT EXISTS check_runs (
  id INTEGER PRIMARY KEY AUTOINCREMENT, repo_id INTEGER NOT NULL, suite_id INTEGER NOT NULL, app_id INTEGER NOT NULL,
  name TEXT NOT NULL, head_sha TEXT NOT NULL, status TEXT NOT NULL, conclusion TEXT, external_id TEXT NOT NULL,
  details_url TEXT, started_at TEXT NOT NULL, completed_at TEXT, title TEXT, summary TEXT, text TEXT);
CREATE INDEX IF NOT EXISTS check_runs_by_sha ON check_runs (repo_id, head_sha);
CREATE TABLE IF NOT EXISTS ci_jobs (
  check_run_id INTEGER PRIMARY KEY, repo_id INTEGER NOT NULL, sha TEXT NOT NULL, name TEXT NOT NULL,
  command TEXT NOT NULL, timeout_seconds REAL NOT NULL, state TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS ci_jobs_by_state ON ci_jobs (state);
CREATE TABLE IF NOT EXISTS statuses (
  id INTEGER PRIMARY KEY AUTOINCREMENT, repo_id INTEGER NOT NULL, sha TEXT NOT NULL, context TEXT NOT NULL,
  state TEXT NOT NULL, description TEXT, target_url TEXT, user_id INTEGER NOT NULL,
  created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS statuses_by_sha ON statuses (repo_id, sha);
CREATE TABLE IF NOT EXISTS hooks (
  id INTEGER PRIMARY KEY AUTOINCREMENT, repo_id INTEGER, app_id INTEGER, url TEXT NOT NULL, secret TEXT,
  events TEXT NOT NULL, active INTEGER NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS deliveries (
  id INTEGER PRIMARY KEY AUTOINCREMENT, guid TEXT NOT NULL, hook_id INTEGER NOT NULL, event TEXT NOT NULL,
  action TEXT, payload TEXT NOT NULL, repo_id INTEGER, installation_id INTEGER, redelivery INTEGER NOT NULL,
  state TEXT NOT NULL, position REAL NOT NULL, not_before REAL NOT NULL, held_by INTEGER, status TEXT,
  status_code INTEGER, request_headers TEXT, response TEXT, duration REAL, delivered_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS deliveries_pending ON deliveries (state, hook_id, position);
CREATE TABLE IF NOT EXISTS faults (
  id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, settings TEXT NOT NULL, remaining INTEGER,
  used INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS mutations (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, who TEXT NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL,
  status INTEGER NOT NULL, fault TEXT);
