"""Made-up secrets are put together at run time: a file that looks for them must not hold one."""

import time

import pytest

from domain import redaction, safety, work

HELD = "correct-horse-battery"
REDACTOR = redaction.Redactor(frozenset({HELD}))
GITHUB = "ghp_" + "a1B2" * 9
RANDOM = "q7Zt" + "9xLm2Vb8Kp4W"


def _scan(line: str, path: str = "src/app.py") -> dict[str, work.FindingLevel]:
    text = safety.AddedText.of_file("c" * 40, path, line.encode(), before=set())
    return {finding.rule: finding.level for finding in safety.scan([text], REDACTOR)}


def _blocking(line: str, path: str = "src/app.py") -> list[str]:
    return [rule for rule, level in _scan(line, path).items() if level is work.FindingLevel.BLOCKS]


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (f'TOKEN = "{GITHUB}"', "github-token"),
        ("-----BEGIN RSA " + "PRIVATE KEY-----", "private-key"),
        ('key = "AKIA' + "ABCDEFGHIJKLMNOP" + '"', "aws-access-key-id"),
        (f"# see {HELD} in the vault", "known-secret"),
        (f"https://fettle:{HELD}@forge.acme.io/x", "known-secret"),
        (f'api_key = "{RANDOM}"', "api-key-assignment"),
        (f'"clientSecret": "{RANDOM}"', "api-key-assignment"),
        (f"os.environ['API_KEY'] = '{RANDOM}'", "api-key-assignment"),
        (f'connect(password="{RANDOM}")', "api-key-assignment"),
        (f'headers = {{"Authorization": "Bearer {RANDOM}{RANDOM}"}}', "bearer-token"),
        (f"curl -H 'Authorization: token {RANDOM}{RANDOM}' x", "bearer-token"),
        (f"postgres://app:{RANDOM}@db.acme.io/app", "url-password"),
    ],
)
def test_secret_blocks(line: str, rule: str) -> None:
    assert rule in _blocking(line)


@pytest.mark.parametrize(
    "path", [".env", ".env.production", "deploy/.envrc", "Makefile", "bin/start", "a.yml", "a.ini"]
)
def test_bare_assignment_blocks_where_values_have_no_quotes(path: str) -> None:
    assert _blocking(f"export STRIPE_API_KEY={RANDOM}  # live", path) == ["api-key-assignment"]


@pytest.mark.parametrize(
    "line",
    [
        'api_key = "your-api-key-here-1"',
        'password = "changeme12345"',
        'TOKEN = "example-token-0001"',
        'token = os.environ["API_TOKEN_V2"]',
        'secret_key: "${SECRET_KEY_2}"',
        'password = "{{ vault_password_1 }}"',
        'secret = "vault:kv/data/app1#secret"',
        'token_url = "https://login.acme.io/oauth2/token"',
        'token_type = "access_token_v2"',
        "def token_bucket(rate: int, burst: int) -> Bucket2:",
        "Authorization: Bearer <token>",
        "commit 4f5288061ac96dc189700828c4f831f5ee19adb4",
        'sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"',
        "a ghp_ token has 36 characters",
    ],
)
def test_words_about_secrets_do_not_block(line: str) -> None:
    assert _blocking(line) == []


@pytest.mark.parametrize("value", ["settings.stripe_key2", "os.environ[KEY_22222]", "get_secret(name_1234)"])
def test_reference_without_quotes_does_not_block(value: str) -> None:
    assert _blocking(f"api_key: {value}", "a.yml") == []


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("result = eval(text)", "eval"),
        ("exec(code)", "exec"),
        ("subprocess.run(cmd, shell=True)", "shell-true"),
        ('os.system("ls")', "os-system"),
        ("rm -rf /", "recursive-root-delete"),
        ("sudo rm -r -f ~/", "recursive-root-delete"),
        ('rm -rf "$HOME"', "recursive-root-delete"),
        ('shutil.rmtree("/")', "recursive-root-delete"),
        ("chmod -R 777 /srv", "chmod-777"),
        ("os.chmod(path, 0o777)", "chmod-777"),
        ('db.execute(f"SELECT * FROM users WHERE id = {user_id}")', "sql-in-f-string"),
        ("q = f'DELETE FROM t WHERE x={x}'", "sql-in-f-string"),
        ("requests.get(url, verify=False)", "tls-verification-off"),
        ("rejectUnauthorized: false", "tls-verification-off"),
        ("tls.Config{InsecureSkipVerify: true}", "tls-verification-off"),
        ("curl -s -k https://x", "tls-verification-off"),
        ("Access-Control-Allow-Origin: *", "wildcard-cors"),
        ('allow_origins=["*"]', "wildcard-cors"),
    ],
)
def test_dangerous_pattern_warns_and_does_not_block(line: str, rule: str) -> None:
    assert _scan(line) == {rule: work.FindingLevel.WARNS}


@pytest.mark.parametrize(
    "line",
    [
        "model.eval()",
        "pattern.exec(text)",
        "def retrieval(x):",
        "rm -rf build/",
        "rm -rf /tmp/x",
        "chmod 1777 /tmp",
        'f"Please SELECT one of {options}"',
        "verify=True",
        'allow_origins=["https://acme.io"]',
        "shell=False",
    ],
)
def test_harmless_neighbour_is_silent(line: str) -> None:
    assert _scan(line) == {}


def test_prose_is_not_warned_about() -> None:
    assert _scan("Never run `rm -rf /` or eval(x).", "docs/safety.md") == {}


@pytest.mark.parametrize("line", ["postgres://app:postgres1@localhost/app", "redis://u:pass123@redis:6379/0"])
def test_password_of_a_local_service_warns_only(line: str) -> None:
    assert _scan(line) == {"url-password": work.FindingLevel.WARNS}


def test_lock_files_are_searched_for_tokens_but_not_guessed_at() -> None:
    assert _scan(f'"integrityToken": "{RANDOM}"', "web/package-lock.json") == {}
    assert _blocking(f'"x": "{GITHUB}"', "web/package-lock.json") == ["github-token"]
    assert _blocking(HELD, "poetry.lock") == ["known-secret"]


def test_only_new_lines_are_reported_with_their_numbers() -> None:
    old = f'A = "{GITHUB}"'
    content = f'import os\n{old}\nB = "{GITHUB}x"\n'.encode()
    text = safety.AddedText.of_file("c" * 40, "a.py", content, before={old.encode()})
    [finding] = safety.scan([text], REDACTOR)
    assert (finding.path, finding.line, finding.commit, finding.rule) == ("a.py", 3, "c" * 40, "github-token")


def test_match_is_never_carried() -> None:
    lines = "\n".join([f'k = "{GITHUB}"', f'api_key = "{RANDOM}"', HELD])
    found = safety.scan([safety.AddedText.of_file("c", "a.py", lines.encode(), set())], REDACTOR)
    assert len(found) == 3
    assert not any(secret in finding.model_dump_json() for finding in found for secret in (GITHUB, RANDOM, HELD))


def test_commit_messages_are_searched() -> None:
    [finding] = safety.scan([safety.AddedText.of_message("c", f"Fix\n\nwith {GITHUB}")], REDACTOR)
    assert (finding.path, finding.line) == (safety.MESSAGE_PATH, 3)


def test_strings_of_binary_files_are_searched() -> None:
    content = b"\0\1\2" + GITHUB.encode() + b"\0\xff" * 10
    assert [f.rule for f in safety.scan([safety.AddedText.of_file("c", "a.bin", content, set())], REDACTOR)] == [
        "github-token"
    ]


def test_large_binary_file_is_pointed_out() -> None:
    content = b"\0" * 2_000_000
    [finding] = safety.scan([safety.AddedText.of_file("c", "a.bin", content, set())], REDACTOR)
    assert (finding.rule, finding.level) == ("large-binary", work.FindingLevel.WARNS)


def test_text_in_utf_16_is_read() -> None:
    content = f'key = "{GITHUB}"\n'.encode("utf-16")
    [finding] = safety.scan([safety.AddedText.of_file("c", "a.ps1", content, set())], REDACTOR)
    assert finding.rule == "github-token"


def test_blocking_findings_come_first_and_the_list_is_bounded() -> None:
    lines = "\n".join(["eval(x)"] * 300 + [f'"{GITHUB}"'])
    found = safety.scan([safety.AddedText.of_file("c", "a.py", lines.encode(), set())], REDACTOR)
    assert len(found) == 100
    assert found[0].rule == "github-token"
    assert safety.blocks(found)
    assert not safety.blocks(found[1:])


def test_secret_anywhere_in_a_very_long_line_is_found() -> None:
    for before in (7_990, 7_600, 15_000, 40_000):
        assert "github-token" in _blocking("x " * (before // 2) + f'"{GITHUB}"' + " y" * 5_000, "a.min.js")


@pytest.mark.parametrize("piece", ["a", "token=", "Bearer ", "api_key ", "rm -r ", 'f"SELECT ', "://a:", "chmod "])
def test_time_grows_with_the_length_only(piece: str) -> None:
    began = time.process_time()  # what other programs of the machine take is not counted
    _scan(piece * (100_000 // len(piece)), "a.js")
    assert time.process_time() - began < 10  # a pattern that backtracks takes minutes
