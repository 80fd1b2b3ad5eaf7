from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstmdb_client import ConnectFailed, Target, TlsSetupFailed


def test_a_url_says_it_all() -> None:
    url = (
        "rstmdbs://s%40fe@one,[::1]:99,two:7402?ca_cert=ca.pem&client_cert=c.pem"
        "&client_key=k.pem&server_name=db&insecure=true&wire_mode=jsonl"
        "&connect_timeout=1&request_timeout=2.5&retry_timeout=0&idempotency=off"
    )
    assert Target.parse(url) == Target(
        hosts=(("one", 7401), ("::1", 99), ("two", 7402)),
        token="s@fe",
        tls=True,
        ca_cert="ca.pem",
        client_cert="c.pem",
        client_key="k.pem",
        server_name="db",
        insecure=True,
        wire_mode="jsonl",
        connect_timeout=1.0,
        request_timeout=2.5,
        retry_timeout=0.0,
        idempotency="off",
    )


NAMES = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,20}", fullmatch=True)
ADDRESSES = st.ip_addresses(v=6).map(str)
SECONDS = st.floats(0.001, 1e9)


@given(
    st.lists(st.tuples(NAMES | ADDRESSES, st.integers(1, 65535)), min_size=1, max_size=4),
    st.none() | st.text(min_size=1),
    st.booleans(),
    st.fixed_dictionaries(
        {},
        optional={
            "ca_cert": st.text(min_size=1),
            "server_name": st.text(min_size=1),
            "wire_mode": st.sampled_from(["binary", "jsonl"]),
            "request_timeout": SECONDS,
            "retry_timeout": st.just(0.0) | SECONDS,
        },
    ),
)
def test_what_a_url_is_made_of_is_what_is_read(
    hosts: list[tuple[str, int]], token: str | None, tls: bool, options: dict[str, str | float]
) -> None:
    where = ",".join(f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
                     for name, port in hosts)  # fmt: skip
    userinfo = "" if token is None else quote(token, safe="") + "@"
    url = f"rstmdb{'s' * tls}://{userinfo}{where}?{urlencode(options)}"
    assert Target.parse(url) == Target(hosts=tuple(hosts), token=token, tls=tls).with_options(
        **options
    )


@given(st.text(), st.booleans())
def test_any_text_is_a_target_or_a_value_error(text: str, prefixed: bool) -> None:
    try:
        target = Target.parse(f"rstmdb://{text}" if prefixed else text)
    except ValueError:
        return
    assert target.hosts
    assert all(host and 1 <= port <= 65535 for host, port in target.hosts)


def test_a_short_url_leaves_the_rest_as_it_is() -> None:
    assert Target.parse("rstmdb://localhost") == Target(hosts=(("localhost", 7401),))
    assert Target.parse("rstmdb://localhost/").token is None


def test_keyword_arguments_go_before_the_url_unless_they_are_none() -> None:
    target = Target.parse("rstmdb://a@b?request_timeout=1", token="c", request_timeout=None)
    assert (target.token, target.request_timeout) == ("c", 1.0)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://a", "begins with rstmdb://"),
        ("localhost:7401", "begins with rstmdb://"),
        ("rstmdb://", "names no host"),
        ("rstmdb://,", "names no host"),
        ("rstmdb://a:0", "no port"),
        ("rstmdb://a:65536", "no port"),
        ("rstmdb://a:x", "no port"),
        ("rstmdb://:7401", "no host"),
        ("rstmdb://::1", "brackets"),
        ("rstmdb://[::1]x", "no host and port"),
        ("rstmdb://a/path", "'/path'"),
        ("rstmdb://a#b", "%23"),
        ("rstmdb://a?nope=1", "unknown option 'nope'.*ca_cert"),
        ("rstmdb://a?token=x", "unknown option 'token'"),
        ("rstmdb://a?insecure=maybe", "insecure is 'maybe'"),
        ("rstmdb://a?wire_mode=xml", "wire_mode is 'xml', not one of binary, jsonl"),
        ("rstmdb://a?idempotency=on", "not one of auto, off"),
        ("rstmdb://a?request_timeout=soon", "not a number of seconds"),
        ("rstmdb://a?request_timeout=0", "above 0"),
        ("rstmdb://a?connect_timeout=nan", "above 0"),
        ("rstmdb://a?retry_timeout=-1", "0 or more"),
        ("rstmdb://a?retry_timeout=inf", "0 or more"),
    ],
)
def test_what_makes_no_sense_is_named_and_the_token_never(url: str, problem: str) -> None:
    secret = url.replace("://", "://hush@", 1)
    for text in (url, secret):
        with pytest.raises(ValueError, match=problem) as caught:
            Target.parse(text)
        assert "hush" not in str(caught.value)


def test_an_option_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown option 'nope'; known: ca_cert, .*wire_mode"):
        Target.parse("rstmdb://a", nope=1)
    with pytest.raises(ValueError, match="request_timeout"):
        Target().with_options(request_timeout=math.inf)
    text: Any = "5"
    with pytest.raises(ValueError, match="request_timeout is '5', not a number of seconds"):
        Target(request_timeout=text)
    with pytest.raises(ValueError, match="hosts"):
        Target(hosts=())


def test_the_token_is_not_shown() -> None:
    assert "hush" not in repr(Target.parse("rstmdb://hush@a"))


def test_variables_name_a_server() -> None:
    assert Target.from_environ({}) == Target()
    variables = {
        "RSTMDB_SERVER": "db:99",
        "RSTMDB_TLS": "1",
        "RSTMDB_TOKEN": "t",
        "RSTMDB_CA_CERT": "ca.pem",
        "RSTMDB_INSECURE": "false",
        "RSTMDB_WIRE_MODE": "jsonl",
    }
    assert Target.from_environ(variables, token="u") == Target(
        hosts=(("db", 99),), token="u", tls=True, ca_cert="ca.pem", wire_mode="jsonl"
    )


def test_the_variable_with_the_url_goes_before_the_others() -> None:
    variables = {
        "RSTMDB_URL": "rstmdb://t@db",
        "RSTMDB_SERVER": "other",
        "RSTMDB_TOKEN": "u",
        "RSTMDB_TLS": "true",
        "RSTMDB_WIRE_MODE": "jsonl",
    }
    assert Target.from_environ(variables) == Target(
        hosts=(("db", 7401),), token="t", wire_mode="jsonl"
    )
    with pytest.raises(ValueError, match="RSTMDB_TLS is 'maybe'"):
        Target.from_environ({"RSTMDB_TLS": "maybe"})


def test_json_lines_are_asked_for_first_and_frames_always() -> None:
    assert Target().modes == ("binary_json",)
    assert Target(wire_mode="jsonl").modes == ("jsonl", "binary_json")


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate")
    for options in ({"ca_cert": str(bad)}, {"ca_cert": "/none"}, {"client_cert": str(bad)}):
        with pytest.raises(TlsSetupFailed, match=next(iter(options.values()))) as caught:
            Target(tls=True).with_options(**options).ssl_context()
        assert isinstance(caught.value, ConnectFailed)
        assert isinstance(caught.value, OSError)
    assert Target(ca_cert="/none").ssl_context() is None
