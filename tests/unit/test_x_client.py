"""Clients of X: one address for all of them, the token from its secret."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import boto3
import pytest
import tweepy
from moto import mock_aws

from include.settings import Settings
from include.x.client import TokenError, XSession, api_client, bearer_token


class Server:
    """Answers with the statuses in ``answers`` in turn, then with 200."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.answers: list[int] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append((self.path.partition("?")[0], self.headers["Authorization"]))
                self.send_response(outer.answers.pop(0) if outer.answers else 200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.http.shutdown()
    started.http.server_close()


def test_what_tweepy_addresses_to_x_goes_to_the_configured_address(server: Server) -> None:
    client = api_client(Settings(x_api_url=server.url + "/"), "secret")
    assert client.search_recent_tweets("tea") == {}
    assert server.asked == [("/2/tweets/search/recent", "Bearer secret")]


@pytest.mark.parametrize("host", ["https://api.twitter.com", "https://api.x.com"])
def test_both_of_xs_names_are_known_and_others_stay(server: Server, host: str) -> None:
    with XSession(server.url) as session:
        assert session.get(f"{host}/2/tweets").ok
        assert session.get(f"{server.url}/elsewhere").ok
    assert [path for path, _ in server.asked] == ["/2/tweets", "/elsewhere"]


def test_by_default_x_is_asked_under_its_present_name() -> None:
    assert Settings().x_api_url == "https://api.x.com"


def test_reads_are_repeated_on_5xx_and_a_429_is_told_at_once(server: Server) -> None:
    client = api_client(Settings(x_api_url=server.url), "secret")
    server.answers = [503, 500]
    assert client.search_recent_tweets("tea") == {}
    assert len(server.asked) == 3
    server.answers = [429]
    with pytest.raises(tweepy.TooManyRequests):
        client.search_recent_tweets("tea")
    assert len(server.asked) == 4


def test_the_token_comes_from_its_secret_and_its_absence_is_told() -> None:
    with mock_aws():
        vault = boto3.client(
            "secretsmanager", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
        )
        with pytest.raises(TokenError, match="Secrets Manager has no secret 'x-opinion/x-bearer-token'"):
            bearer_token(vault, Settings())
        vault.create_secret(Name="x-opinion/x-bearer-token", SecretString=" ")
        with pytest.raises(TokenError, match="is empty"):
            bearer_token(vault, Settings())
        vault.put_secret_value(SecretId="x-opinion/x-bearer-token", SecretString="secret\n")
        assert bearer_token(vault, Settings()) == "secret"
