"""The page on a real port, and a plain client for it."""

import http.client
import re
import threading
import time
from contextlib import contextmanager
from urllib.parse import urlencode

import uvicorn

from crlhf.web.app import create_app


@contextmanager
def running(page):
    """Serve `page` from a thread; its address."""
    server = uvicorn.Server(uvicorn.Config(create_app(page), port=0, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
        assert thread.is_alive()
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


class Browserless:
    """One annotator without a browser: a connection that is kept, a cookie, an Origin."""

    def __init__(self, address):
        self.host = address.removeprefix("http://")
        self.headers = {"Origin": address}
        self.connection = http.client.HTTPConnection(self.host, timeout=30)

    def ask(self, method, path, fields=None):
        """Status and body; cookies are kept."""
        body = None if fields is None else urlencode(fields, doseq=True)
        headers = self.headers | ({"Content-Type": "application/x-www-form-urlencoded"} if body is not None else {})
        try:
            self.connection.request(method, path, body, headers)
            answer = self.connection.getresponse()
        except http.client.RemoteDisconnected:  # it was idle for too long; asking again changes nothing
            self.connection.close()
            self.connection.request(method, path, body, headers)
            answer = self.connection.getresponse()
        text = answer.read().decode()
        if cookie := answer.getheader("Set-Cookie"):
            self.headers["Cookie"] = cookie.split(";")[0]
        return answer.status, text

    def join_and_train(self, token):
        assert self.ask("POST", "/join", {"token": token})[0] == 303
        assert self.ask("POST", "/guide", {})[0] == 303
        for number in (1, 2, 3):
            assert self.ask("POST", f"/training/{number}", {"nothing": "1"})[0] == 303

    def open_task(self):
        """The hidden fields of the open item's form, or None when there is nothing left."""
        status, text = self.ask("GET", "/task")
        if status == 303:
            return None
        assert status == 200, text
        return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', text))
