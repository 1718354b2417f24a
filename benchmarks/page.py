"""The annotation page under load: 50 simulated annotators on loopback, SQLite, one server process.

Each simulated annotator opens a task, answers it and opens the next, at once or after a pause. The table gives requests
a second, latencies, and how many accepted answers are missing from the database afterwards. With `--pause 0` everybody
sends as fast as the page answers, hundreds of times the pace of people; latency is then queueing.

    python benchmarks/page.py [--annotators 50] [--seconds 60] [--pause 0 1]
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import multiprocessing
import re
import socket
import tempfile
import time
from contextlib import nullcontext
from urllib.parse import urlencode

from sqlalchemy import select

from crlhf.languages.python import judgeable_lines
from crlhf.lines import sha256_text
from crlhf.web import people
from crlhf.web.app import create_app, settle
from crlhf.web.assignment import Rules
from crlhf.web.database import open_database
from crlhf.web.lessons import TRAINING, WORKED
from crlhf.web.limits import LIMITS, Limit
from crlhf.web.page import Page, Settings
from crlhf.web.sources import NO_ESTIMATES, ShownItem, Sources
from crlhf.web.tables import answers

FIELD = re.compile(rb'<input type="hidden" name="(\w+)" value="([^"]*)">')
LINE = re.compile(rb'name="line" value="(\d+)"')


def items(n: int) -> list[ShownItem]:
    """Programs of the usual size, one in five a honeypot."""
    lessons = [*WORKED, *TRAINING]
    made = []
    for number in range(n):
        lesson = lessons[number % len(lessons)]
        code = f"# {number}\n{lesson.code}"
        name = sha256_text(code)
        made.append(
            ShownItem(
                name[:16],
                "load",
                f"load/{number}",
                code,
                name,
                tuple(judgeable_lines(code)),
                number % 5 == 0,
                "python",
                lesson.description,
                lesson.examples,
            )
        )
    return made


def make_page(url: str, n_annotators: int, n_items: int) -> Page:
    """A page whose items never run out; rate limits are off, because one address sends everything."""
    rules = Rules(seed=1, k=n_annotators, honeypot_rate=0.2)
    settings = Settings(rules, refresh_s=0, limits=dict.fromkeys(LIMITS, Limit(1e9, 1e9)))
    shown = items(n_items)
    return Page(
        open_database(url),
        settings,
        Sources(lambda: shown, lambda rows: NO_ESTIMATES, lambda annotator_id: nullcontext()),
    )


def serve(url: str, listener: socket.socket, n_annotators: int, n_items: int) -> None:
    """The server process."""
    import uvicorn

    page = make_page(url, n_annotators, n_items)
    settle()
    uvicorn.Server(uvicorn.Config(create_app(page), log_level="warning", access_log=False)).run(sockets=[listener])


def sessions(page: Page, n: int) -> list[tuple[str, str]]:
    """Annotators who have done guide and training: id and session token."""
    made = []
    with page.database.write() as connection:
        now = time.time()
        for invitation in people.invite(connection, n, "simulated", now, "benchmark"):
            token = people.join(connection, invitation.token, now)
            assert token is not None
            people.read_guide(connection, invitation.annotator_id, now)
            for number in range(1, len(TRAINING) + 1):
                people.practise(connection, invitation.annotator_id, number, [], len(TRAINING), now)
            made.append((invitation.annotator_id, token))
    return made


class Simulated:
    """One simulated annotator: one connection, latencies in seconds, and the keys of accepted answers."""

    def __init__(self, port: int, annotator_id: str, token: str, pause_s: float) -> None:
        self.port, self.annotator_id, self.pause_s = port, annotator_id, pause_s
        self.head = f"Host: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\nCookie: crlhf_annotator={token}\r\n"
        self.latencies: list[float] = []
        self.accepted: list[tuple[str, str]] = []
        self.refused: list[int] = []

    async def work(self, start: asyncio.Event, until: float) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        await start.wait()
        if self.pause_s:
            await asyncio.sleep(hash(self.annotator_id) % 1000 / 1000 * self.pause_s)
        while time.monotonic() < until:
            status, page = await self.ask("GET")
            if status != 200:
                self.refused.append(status)
                return
            fields = [(name.decode(), value.decode()) for name, value in FIELD.findall(page)]
            lines = LINE.findall(page)
            fields.append(("line", lines[len(self.accepted) % len(lines)].decode()))
            if self.pause_s:
                await asyncio.sleep(self.pause_s)
            status, _ = await self.ask("POST", urlencode([*fields, ("comment", "simulated"), ("active_s", "1.5")]))
            if status == 303:
                self.accepted.append((self.annotator_id, dict(fields)["idempotency_key"]))
            else:
                self.refused.append(status)
        self.writer.close()

    async def ask(self, method: str, body: str = "") -> tuple[int, bytes]:
        began = time.perf_counter()
        form = f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n" if body else ""
        self.writer.write(f"{method} /task HTTP/1.1\r\n{self.head}{form}\r\n{body}".encode())
        head = await self.reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"content-length: (\d+)", head)
        content = await self.reader.readexactly(int(found[1]) if found else 0)
        self.latencies.append(time.perf_counter() - began)
        return int(head[9:12]), content


def wait_until_up(port: int) -> None:
    """Return when the server answers; the socket listens before, so that asking waits for it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/health")
    assert connection.getresponse().status == 200
    connection.close()


async def load(crowd: list[Simulated], seconds: float) -> float:
    """Everybody starts at once; the seconds it took."""
    start = asyncio.Event()
    tasks = [asyncio.create_task(one.work(start, time.monotonic() + seconds)) for one in crowd]
    await asyncio.sleep(0.2)
    began = time.monotonic()
    start.set()
    await asyncio.gather(*tasks)
    return time.monotonic() - began


def measure(n_annotators: int, seconds: float, pause_s: float) -> bool:
    """One row of the table; whether nothing was lost or refused."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/page.sqlite3"
        n_items = 4000
        page = make_page(url, n_annotators, n_items)
        page.refresh()
        people_at_work = sessions(page, n_annotators)
        listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        port = listener.getsockname()[1]
        context = multiprocessing.get_context("fork")
        page.database.close()
        server = context.Process(target=serve, args=(url, listener, n_annotators, n_items), daemon=True)
        server.start()
        listener.close()
        wait_until_up(port)
        crowd = [Simulated(port, name, token, pause_s) for name, token in people_at_work]
        try:
            elapsed = asyncio.run(load(crowd, seconds))
        finally:
            server.kill()
            server.join()
        with page.database.read() as connection:
            kept = set(connection.execute(select(answers.c.annotator_id, answers.c.idempotency_key)))
        page.database.close()
    accepted = [pair for one in crowd for pair in one.accepted]
    refused = [status for one in crowd for status in one.refused]
    latencies = sorted(latency for one in crowd for latency in one.latencies)
    p50, p95, p99 = (1000 * latencies[int(share * (len(latencies) - 1))] for share in (0.5, 0.95, 0.99))
    lost = len(set(accepted) - kept)
    print(
        f"{n_annotators:>10} {pause_s:>7.1f} {len(latencies) / elapsed:>10.0f} {len(accepted) / elapsed:>9.0f} "
        f"{p50:>8.1f} {p95:>8.1f} {p99:>8.1f} {len(accepted):>9} {lost:>5} {len(refused):>8}",
        flush=True,
    )
    return not lost and not refused and len(set(accepted)) == len(accepted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotators", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--pause", type=float, nargs="*", default=[0.0, 1.0], help="seconds before each answer")
    words = parser.parse_args()
    print("annotators   pause requests/s answers/s   p50 ms   p95 ms   p99 ms  accepted  lost  refused")
    results = [measure(words.annotators, words.seconds, pause_s) for pause_s in words.pause]
    if not all(results):
        raise SystemExit("an answer was lost, refused or counted twice")


if __name__ == "__main__":
    main()
