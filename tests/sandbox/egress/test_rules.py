import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import errors
from sandbox.egress import addresses, rules
from sandbox.egress.verdicts import Denied, Why

RULES = rules.Rules.of(
    ["registry.example.com", "*.files.example.com", "plain.example.com:80", "code.example.org"],
    private=["cache.internal:3141"],
    never=("code.example.org",),
)


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("registry.example.com", 443),
        ("a.files.example.com", 443),
        ("a.b.files.example.com", 443),
        ("plain.example.com", 80),
        ("cache.internal", 3141),
    ],
)
def test_a_listed_host_and_port_is_allowed(host: str, port: int) -> None:
    assert RULES.check(host, port) is (host == "cache.internal")


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("registry.example.com", 80),
        ("registry.example.com", 22),
        ("evil.registry.example.com", 443),
        ("registry.example.com.evil.org", 443),
        ("evilregistry.example.com", 443),
        ("files.example.com", 443),
        ("evilfiles.example.com", 443),
        ("plain.example.com", 443),
        ("example.com", 443),
    ],
)
def test_what_is_not_listed_is_refused(host: str, port: int) -> None:
    with pytest.raises(Denied, match="is not on the list of hosts that agents may reach") as refused:
        RULES.check(host, port)
    assert refused.value.why is Why.NOT_LISTED


@pytest.mark.parametrize("host", ["code.example.org", "api.code.example.org", "a.b.code.example.org"])
def test_the_forge_is_refused_even_if_listed(host: str) -> None:
    with pytest.raises(Denied) as refused:
        RULES.with_hosts([host]).check(host, 443)
    assert refused.value.why is Why.FORGE


def test_a_listed_forge_is_told_to_the_operator() -> None:
    assert RULES.overruled() == ["code.example.org"]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("Registry.EXAMPLE.com", "registry.example.com"),
        ("registry.example.com.", "registry.example.com"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("localhost", "localhost"),
        ("a_b.example", "a_b.example"),
    ],
)
def test_one_host_has_one_spelling(given: str, name: str) -> None:
    assert rules.host_name(given) == name


@pytest.mark.parametrize(
    "given",
    [
        "127.0.0.1",
        "10.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "1.2.3.4.",
        "[::1]",
        "::1",
        "[::ffff:7f00:1]",
        "127.0.0.1.",
        "1.2.3.0X4",
        "fe80::1%eth0",
        "a.b.1",
    ],
)
def test_an_address_is_no_name_in_any_spelling(given: str) -> None:
    with pytest.raises(Denied) as refused:
        rules.host_name(given)
    assert refused.value.why is Why.IP_LITERAL


@pytest.mark.parametrize(
    "given",
    [
        "",
        ".",
        "a..b",
        "-a.example",
        "a-.example",
        "ex ample.com",
        "registry.example.com\x00.evil.org",
        "%72egistry.example",
        "bücher.example",
        "\uff52egistry.example.com",
        "reg\u0131stry.example.com",
        "registry\u3002example.com",
        "a" * 64 + ".example",
        "user@host.example",
        "host.example/path",
        "host.example#",
        "a." * 130 + "com",
        "registry.example.com..",
        "\u212a.example",
    ],
)
def test_a_name_of_other_letters_is_refused(given: str) -> None:
    with pytest.raises(Denied) as refused:
        rules.host_name(given)
    assert refused.value.why is Why.NAME


@given(st.text(max_size=40))
def test_no_text_is_taken_for_a_listed_host_but_its_own_spelling(text: str) -> None:
    try:
        name = rules.host_name(text)
    except Denied:
        return
    assert name in {text, text.lower(), text.lower()[:-1]}
    assert text.isascii()


@pytest.mark.parametrize(
    "entry",
    [
        "*",
        "*.com",
        "*.",
        "",
        "10.0.0.1",
        "a.example:0",
        "a.example:65536",
        "a.example:",
        "a.example:x",
        "https://a.example",
        "a.*.example",
        "a.example:443:1",
        "bücher.example",
        "a.example:\u0663",
    ],
)
def test_an_entry_that_is_no_pattern_is_a_configuration_error(entry: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="is to be allowed for agents"):
        rules.Rules.of([entry])


def test_a_repository_can_only_narrow() -> None:
    narrowed = RULES.narrowed(["registry.example.com", "elsewhere.example.com"])
    assert narrowed.check("registry.example.com", 443) is False
    with pytest.raises(Denied, match="not wished for by the repository"):
        narrowed.check("plain.example.com", 80)
    with pytest.raises(Denied, match="is not on the list"):
        narrowed.check("elsewhere.example.com", 443)
    with pytest.raises(Denied):
        RULES.narrowed([]).check("registry.example.com", 443)
    assert RULES.narrowed([]).with_hosts(["model.example.com"]).check("model.example.com", 443) is False


@pytest.mark.parametrize(
    ("address", "closed"),
    [
        ("https://api.github.com", {"github.com", "githubusercontent.com", "ghcr.io"}),
        ("https://code.example.org/api/v3", {"code.example.org"}),
        ("https://git.example.org:8443", {"example.org"}),
        ("api.code.example.org", {"code.example.org"}),
        ("http://127.0.0.1:3000", set()),
        ("", set()),
        ("https://API.Example.ORG", {"example.org"}),
    ],
)
def test_a_forge_closes_every_name_of_its_own(address: str, closed: set[str]) -> None:
    assert set(rules.forge_hosts([address])) == closed


PUBLIC = ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"]
OF_AN_OPERATOR = [
    "10.0.0.5",
    "172.16.3.4",
    "192.168.1.1",
    "127.0.0.1",
    "::1",
    "fd12::1",
    "100.64.0.1",
    "::ffff:10.0.0.5",
]
OF_NOBODY = [
    *("169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "fe80::1%lo", "0.0.0.0", "::", "224.0.0.1", "ff02::1"),
    *("255.255.255.255", "240.0.0.1", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "fd00:ec2::254", "100.100.100.200"),
    *("not an address", "192.0.2.1", "2001:db8::1"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_connected_to(address: str) -> None:
    assert addresses.may_connect(address, private=False)
    assert addresses.may_connect(address, private=True)


@pytest.mark.parametrize("address", OF_AN_OPERATOR)
def test_a_private_address_needs_the_operators_word(address: str) -> None:
    assert not addresses.may_connect(address, private=False)
    assert addresses.may_connect(address, private=True)


@pytest.mark.parametrize("address", OF_NOBODY)
def test_no_word_opens_metadata_link_local_and_reserved_addresses(address: str) -> None:
    assert not addresses.may_connect(address, private=False)
    assert not addresses.may_connect(address, private=True)


@pytest.mark.parametrize("embedded", ["64:ff9b::a00:5", "2002:a00:5::1", "::ffff:10.0.0.5"])
def test_a_private_address_inside_of_a_public_one_is_private(embedded: str) -> None:
    assert not addresses.may_connect(embedded, private=False)


async def test_one_private_address_among_public_ones_refuses_the_host() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["8.8.8.8", "127.0.0.1"]

    with pytest.raises(Denied, match=r"leads to 127\.0\.0\.1, which is not public"):
        await addresses.checked("rebind.example.com", 443, resolve, private=False)


async def test_a_name_without_an_address_says_so() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    with pytest.raises(Denied, match="does not resolve here"):
        await addresses.checked("gone.example.com", 443, resolve, private=False)


async def test_the_systems_resolver_finds_loopback_for_localhost() -> None:
    assert set(await addresses.system_resolve("localhost", 80)) <= {"127.0.0.1", "::1"}
