"""The stand-in of X on a port of its own, and clients for it."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import requests
import tweepy
import uvicorn

from include.x.client import XSession
from include.x.topics import Topic
from local.x_api.app import XApi
from local.x_api.synthetic import Synthetic
from tests.credentials import CREDENTIALS

TOKEN = CREDENTIALS.x_bearer_token
TOPICS = (
    Topic("apples", "Apples", {"en": ("apple", "apples"), "uk": ("яблуко",)}),
    Topic("pears", "Pears", {"en": ("pear",), "de": ("birne",)}),
)
APPLES = "(apple OR apples OR яблуко) -pear -birne -is:retweet -is:quote"
"""Without quotes: their quoted text counts in the stream and does not in search."""
START = time.time()


def clock() -> float:
    """Sixty times as fast as the wall's, so that few posts an hour are many a second."""
    return START + (time.time() - START) * 60


CORPUS = Synthetic(TOPICS, 2000, 1, clock)
QUIET = Synthetic(TOPICS, 0, 1)


class Service:
    """A stand-in on a port of its own, and clients for it."""

    def __init__(self, api: XApi) -> None:
        config = uvicorn.Config(
            api.application(), port=0, log_config=None, lifespan="off", access_log=False, date_header=False
        )
        self.api = api
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        self._server.should_exit = True
        self.api.stream.end_all("server_shutdown")
        self._thread.join(5)
        assert not self._thread.is_alive()

    def get(self, path: str, token: str | None = TOKEN, **parameters: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return requests.get(self.url + path, params=parameters, headers=headers, timeout=10)

    def client(self, token: str = TOKEN) -> tweepy.Client:
        client = tweepy.Client(token)
        client.session = XSession(self.url)
        return client

    def streaming(self, token: str = TOKEN) -> Collector:
        return Collector(self.url, token)


class Collector(tweepy.StreamingClient):
    """Keeps every line; stops after ``wanted`` of them."""

    def __init__(self, url: str, token: str) -> None:
        super().__init__(token, max_retries=0)
        self.session = XSession(url)
        self.lines: list[dict[str, Any]] = []
        self.statuses: list[int] = []
        self.keep_alives = 0
        self.wanted = 1

    def on_data(self, raw_data: bytes) -> None:
        self.lines.append(json.loads(raw_data))
        if len(self.lines) >= self.wanted:
            self.disconnect()

    def on_keep_alive(self) -> None:
        self.keep_alives += 1

    def on_request_error(self, status_code: int) -> None:
        self.statuses.append(status_code)
        self.disconnect()

    def on_closed(self, response: object) -> None:
        self.disconnect()
