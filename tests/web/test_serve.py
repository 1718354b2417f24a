"""`crlhf serve` as a process: an accepted answer survives kill -9."""

import http.client
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select

from crlhf.web.database import default_url, open_database
from crlhf.web.tables import answers, items, metadata
from tests.web.live import Browserless
from tests.web.project import make_project

CRLHF = Path(sys.executable).parent / "crlhf"
N_PROBLEMS, K = 20, 2


def crlhf(root, *words, check=True):
    answer = subprocess.run([CRLHF, "--root", root, *words], capture_output=True, text=True)
    assert not check or answer.returncode == 0, answer.stderr
    return answer


def start(root, *words):
    server = subprocess.Popen(
        [CRLHF, "--root", root, "serve", "--port", "0", *words], stdout=subprocess.PIPE, text=True
    )
    address = re.search(r"http://[\d.:]+", server.stdout.readline())[0]
    return server, address


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    make_project(root, n_problems=N_PROBLEMS, n_honeypots=12)
    text = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(text.replace("verdicts_per_completion: 5", f"verdicts_per_completion: {K}"))
    return root


def test_every_answer_that_was_accepted_survives_kill_9(project):
    server, address = start(project)
    lines = crlhf(project, "page", "invite", "-n", "4").stdout.split("\n")[:-1]
    accepted, enough = [], threading.Event()

    def work(line):
        annotator_id, link = line.split(" ")
        client = Browserless(address)
        try:
            client.join_and_train(link.rpartition("/")[2])
            while task := client.open_task():
                status, _ = client.ask("POST", "/task", task | {"nothing": "1"})
                assert status == 303
                accepted.append((annotator_id, task["idempotency_key"]))
                if len(accepted) >= 60:
                    enough.set()
        except (OSError, http.client.HTTPException):
            pass  # the server is gone

    threads = [threading.Thread(target=work, args=(line,)) for line in lines]
    for thread in threads:
        thread.start()
    assert enough.wait(60)
    os.kill(server.pid, signal.SIGKILL)
    for thread in threads:
        thread.join()
    server.wait()
    database = open_database(default_url(project))
    with database.read() as connection:
        kept = set(connection.execute(select(answers.c.annotator_id, answers.c.idempotency_key)))
    database.close()
    assert len(accepted) >= 60
    assert set(accepted) <= kept
    assert len(kept) <= len(accepted) + 4  # at most one a client was on the disk and not yet acknowledged

    server, address = start(project)  # and it goes on
    try:
        assert Browserless(address).ask("GET", "/health") == (200, "ok")
    finally:
        server.terminate()
        server.wait()


def test_the_command_line_does_what_the_operators_page_does(project, tmp_path):
    server, address = start(project)
    try:
        made = crlhf(project, "page", "invite", "--note", "pilot", "--public-url", "https://a.example/").stdout
        annotator_id, link = made.split()
        assert link.startswith("https://a.example/join/")
        assert " http://127.0.0.1:8000/join/" in crlhf(project, "page", "invite").stdout
        client = Browserless(address)
        client.join_and_train(link.rpartition("/")[2])
        for _ in range(3):
            assert client.ask("POST", "/task", client.open_task() | {"nothing": "1"})[0] == 303
        crlhf(project, "page", "pause")
        assert "paused" in client.ask("GET", "/task")[1]
        crlhf(project, "page", "resume")
        assert client.open_task()
        status = crlhf(project, "page", "status").stdout
        assert re.search(rf"{annotator_id} active: 3 answers, cost 0.00, sensitivity 0\.\d\d \[", status)
        rows = crlhf(project, "page", "export", "rows").stdout.splitlines()
        assert sum(annotator_id in row for row in rows) >= 3
        assert crlhf(project, "page", "export", "costs").stdout.startswith("completion_id,n_verdicts,seconds,cost\n")
        assert annotator_id in crlhf(project, "page", "export", "spreadsheet").stdout
        assert crlhf(project, "collect").stdout.startswith("data/annotations/0001-page-")
        assert crlhf(project, "collect").stdout == "Nothing new was submitted since the last time.\n"
        crlhf(project, "page", "backup", tmp_path / "page.backup")
        refused = crlhf(project, "page", "restore", tmp_path / "page.backup", check=False)
        assert refused.returncode == 3
        assert "--replace" in refused.stderr
        assert "are back" in crlhf(project, "page", "restore", "--replace", tmp_path / "page.backup").stdout
        assert f'"{annotator_id}"' in crlhf(project, "page", "export-annotator", annotator_id).stdout
        crlhf(project, "page", "revoke", annotator_id)
        assert client.ask("GET", "/task")[0] == 401
        said = crlhf(project, "page", "delete-annotator", "--yes", annotator_id).stdout
        assert "3 answers were deleted" in said
        assert f"crlhf forget {annotator_id}" in said
        back = crlhf(project, "page", "restore", "--replace", tmp_path / "page.backup").stdout
        assert "1 annotators had been forgotten since that backup, and are gone again." in back
        assert crlhf(project, "page", "export-annotator", annotator_id, check=False).returncode == 3
        key = crlhf(project, "page", "operator", "ada").stdout.strip()
        operator = Browserless(address)
        assert operator.ask("POST", "/operator/sign-in", {"name": "ada", "key": key})[0] == 303
        assert operator.ask("GET", "/operator")[0] == 200
    finally:
        server.terminate()
        server.wait()


@pytest.mark.parametrize("is_at_once", [False, True])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_that_is_asked_to_stop_ends_with_0_and_says_nothing(project, number, is_at_once):
    command = [CRLHF, "--root", project, "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        address = re.search(r"http://[\d.:]+", server.stdout.readline())[0]
        assert is_at_once or Browserless(address).ask("GET", "/health") == (200, "ok")
        server.send_signal(number)
        _, stderr = server.communicate(timeout=60)
    assert (server.returncode, stderr) == (0, "")


def test_page_backup_to_a_folder_is_one_sentence(project):
    server, _ = start(project)
    server.terminate()
    server.wait()
    answer = crlhf(project, "page", "backup", project, check=False)
    assert answer.returncode == 3
    assert answer.stderr == f"crlhf: {project}: is a folder, not a file\n"


@pytest.mark.parametrize("words", [("invite",), ("operator", "ada"), ("restore", "file")])
def test_a_page_begins_in_a_project_only(tmp_path, words):
    answer = crlhf(tmp_path, "page", *words, check=False)
    assert (answer.returncode, "params.yaml" in answer.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_without_a_page_the_commands_say_so(tmp_path):
    make_project(tmp_path, n_problems=1, n_honeypots=1)
    answer = crlhf(tmp_path, "collect", check=False)
    assert answer.returncode == 4
    assert "`crlhf serve` starts one" in answer.stderr
    assert not (tmp_path / "data/page").exists()


def test_two_servers_on_one_database_give_k_verdicts_each_and_lose_none(project, url):
    """Four people, two at each server, until nothing is left."""
    servers = [start(project, "--database", url) for _ in range(2)]
    made = crlhf(project, "page", "invite", "-n", "4", "--database", url).stdout.split("\n")[:-1]
    accepted, failures = [], []

    def work(line, address):
        annotator_id, link = line.split(" ")
        client = Browserless(address)
        try:
            client.join_and_train(link.rpartition("/")[2])
            while task := client.open_task():
                assert client.ask("POST", "/task", task | {"nothing": "1"})[0] == 303
                accepted.append((annotator_id, task["idempotency_key"]))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(line, servers[n % 2][1])) for n, line in enumerate(made)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for server, _ in servers:
        server.terminate()
        server.wait()
    assert failures == []
    database = open_database(url)
    with database.read() as connection:
        kept = connection.execute(select(answers, items.c.is_honeypot).join(items)).all()
        n_taken = dict(connection.execute(select(items.c.completion_id, items.c.n_taken)).all())
    if not database.is_sqlite:
        metadata.drop_all(database.engine)
    database.close()
    assert {(row.annotator_id, row.idempotency_key) for row in kept} == set(accepted)
    assert len(kept) == len(accepted)
    given = Counter(row.completion_id for row in kept)
    assert {name: n for name, n in n_taken.items() if n} == given
    tasks = {row.completion_id for row in kept if not row.is_honeypot}
    assert {given[name] for name in tasks} == {K}
    assert len(tasks) == 2 * N_PROBLEMS
