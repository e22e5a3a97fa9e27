"""Which requests a server answers: neither those of web pages nor those for another host."""

from __future__ import annotations

import pytest

from include.web_guard import WebGuard

LOCAL = WebGuard.bound_to("127.0.0.1")
EVERYWHERE = WebGuard.bound_to("0.0.0.0", ["host.docker.internal"])


def rejected(guard: WebGuard, *headers: tuple[str, str], method: str = "GET") -> bool:
    return guard.objection(method, headers) is not None


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8082", "localhost:9", "LOCALHOST", "[::1]:8082", "[::1]"]
)
def test_a_server_on_loopback_answers_to_loopback(host: str) -> None:
    assert not rejected(LOCAL, ("Host", host))
    assert not rejected(EVERYWHERE, ("Host", host))


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example",
            "evil.example:8082",
            "127.0.0.1.evil.example",
            "localhost.",
            "localhost@evil.example",
        ),
        *(
            "",
            "127.0.0.1:",
            "127.0.0.1:x",
            "::1",
            "[::1",
            "0.0.0.0:8082",
            "0",
            "a b",
            "127.0.0.1, evil.example",
        ),
    ],
)
def test_another_host_is_rejected(host: str) -> None:
    assert rejected(LOCAL, ("Host", host))
    assert rejected(EVERYWHERE, ("Host", host))


def test_a_server_on_all_interfaces_answers_to_addresses_and_the_names_it_was_given() -> None:
    for host in ("192.168.1.5:8082", "172.17.0.1", "[fd00::5]:80", "host.docker.internal:8082"):
        assert not rejected(EVERYWHERE, ("Host", host))
        assert rejected(LOCAL, ("Host", host))


def test_a_server_on_one_address_answers_to_it() -> None:
    assert not rejected(WebGuard.bound_to("192.168.1.5"), ("Host", "192.168.1.5:8082"))
    assert rejected(WebGuard.bound_to("192.168.1.5"), ("Host", "192.168.1.6:8082"))


def test_exactly_one_host_is_asked_for() -> None:
    assert rejected(LOCAL)
    assert rejected(LOCAL, ("Host", "127.0.0.1"), ("host", "evil.example"))


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:9", "https://127.0.0.1:8082", ""]
)
def test_a_page_of_another_origin_is_rejected_whatever_it_sends(origin: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        assert rejected(LOCAL, ("Host", "127.0.0.1:8082"), ("Origin", origin), method=method)


def test_a_servers_own_pages_are_answered() -> None:
    own = (("Host", "127.0.0.1:8082"), ("Origin", "http://127.0.0.1:8082"), ("Sec-Fetch-Site", "same-origin"))
    assert not rejected(LOCAL, *own, method="POST")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_another_page_loads_or_embeds_is_rejected_and_a_link_is_followed(site: str) -> None:
    asked = (("Host", "127.0.0.1:8082"), ("Sec-Fetch-Site", site))
    followed = (("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document"))
    assert rejected(LOCAL, *asked, ("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "image"))
    assert rejected(LOCAL, *asked, ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "iframe"))
    assert rejected(LOCAL, *asked, *followed, method="POST")
    assert not rejected(LOCAL, *asked, *followed)
