"""Downloads that are verified, atomic and quick to give up."""

import hashlib
import http.server
import threading
from pathlib import Path

import pytest

from crlhf.errors import IntegrityError, MissingInputError
from crlhf.fetch import cache_folder, check_sha256, download, sha256_file

CONTENT = b"bytes of a benchmark\n" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def address():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/file" else 404)
            self.end_headers()
            self.wfile.write(CONTENT if self.path == "/file" else b"no")

        def log_message(self, *args):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_download_with_the_right_hash_is_kept(address, tmp_path):
    download(f"{address}/file", tmp_path / "new" / "file", SHA256)
    assert (tmp_path / "new" / "file").read_bytes() == CONTENT


def test_a_download_with_the_wrong_hash_leaves_nothing(address, tmp_path):
    with pytest.raises(IntegrityError, match="its sha256 is"):
        download(f"{address}/file", tmp_path / "file", "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_an_address_that_is_not_there_is_one_sentence(address, tmp_path):
    with pytest.raises(MissingInputError, match="cannot be reached"):
        download(f"{address}/other", tmp_path / "file", SHA256)
    with pytest.raises(MissingInputError, match="cannot be reached"):
        download("http://127.0.0.1:1/file", tmp_path / "file", SHA256, timeout_s=2)
    assert list(tmp_path.iterdir()) == []


def test_a_file_with_the_wrong_hash_says_what_to_do(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    check_sha256(path, SHA256)
    assert sha256_file(path) == SHA256
    with pytest.raises(IntegrityError, match="remove the file and run again"):
        check_sha256(path, "0" * 64)


def test_the_cache_folder_follows_the_xdg_rules(monkeypatch, tmp_path):
    monkeypatch.delenv("CRLHF_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "crlhf"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_folder() == Path("/x/crlhf")
    monkeypatch.setenv("CRLHF_CACHE", "/y")
    assert cache_folder() == Path("/y")
