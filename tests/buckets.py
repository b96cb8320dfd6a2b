"""A real server that speaks S3, on this machine, for the tests of object storage."""

import socket
import threading
import time
import urllib.request
from collections import Counter

import pytest

KEY, SECRET = "AKIAMARKEDKEYID00000", "marked+secret/0123456789abcdefghijklmnop"


class Server:
    """A server whose requests are counted, and fail as a test wants it.

    `failing` is asked for each request, as (method, path), what becomes of it: None, a status,
    "reset", or seconds to wait.
    """

    def __init__(self):
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Silent(WSGIRequestHandler):
            protocol_version = "HTTP/1.1"

            def log(self, type, message, *args):
                pass

        self.app = DomainDispatcherApplication(create_backend_app)
        self.requests, self.bytes = Counter(), Counter()
        self.failing = lambda method, path: None
        self.heard = lambda authorization: None
        self.http = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=Silent)
        self.url = f"http://127.0.0.1:{self.http.port}"
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()

    def _answer(self, environ, start_response):
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if not path.startswith("/moto-api"):
            kind = "LIST" if "list-type" in environ["QUERY_STRING"] else method
            self.requests[kind] += 1
            self.bytes[kind] += int(environ.get("CONTENT_LENGTH") or 0)
            self.heard(environ.get("HTTP_AUTHORIZATION", ""))
            wanted = self.failing(method, path)
            if isinstance(wanted, float):
                time.sleep(wanted)
            elif wanted == "reset":
                environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
                raise ConnectionResetError
            elif wanted:
                environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                said = refusal(wanted)
                start_response(f"{wanted} Said", [("Content-Length", str(len(said)))])
                return [] if method == "HEAD" else [said]
        return self.app(environ, start_response)

    def make(self, bucket):
        made = urllib.request.Request(f"{self.url}/{bucket}", method="PUT")
        urllib.request.urlopen(made).close()

    def forget(self):
        gone = urllib.request.Request(f"{self.url}/moto-api/reset", method="POST")
        urllib.request.urlopen(gone).close()
        self.failing = lambda method, path: None
        self.heard = lambda authorization: None
        self.requests.clear()
        self.bytes.clear()


CODES = {400: "AuthorizationHeaderMalformed", 403: "InvalidAccessKeyId", 503: "SlowDown"}
CODES |= {501: "NotImplemented", 507: "QuotaExceeded"}


def refusal(status):
    """What servers say; some quote the key."""
    code = CODES.get(status, "InternalError")
    said = f"<Error><Code>{code}</Code><Message>no</Message><AWSAccessKeyId>{KEY}</AWSAccessKeyId>"
    return f"{said}<Region>eu-west-9</Region></Error>".encode()


@pytest.fixture(scope="session")
def running():
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()
    server.thread.join()


@pytest.fixture
def server(running, monkeypatch):
    """Give the server with an empty bucket "cells", and the settings of whoever may use it."""
    from napari_deblur import objects

    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    running.forget()
    running.make("cells")
    running.requests.clear()
    objects.disconnect()
    yield running
    objects.disconnect()


def content(address):
    """Give the bytes of all files of a result, but the ledger's, by name."""
    from napari_deblur import places

    root = places.place_of(address)
    files = {places.relative(file, root): file for file in places.files(root)}
    return {name: file.read_bytes() for name, file in files.items() if ".jsonl" not in name}


def upload(folder, address):
    """Copy the files of a folder into a bucket."""
    from napari_deblur.places import place_of

    for file in folder.rglob("*"):
        if file.is_file():
            (place_of(address) / file.relative_to(folder).as_posix()).write_bytes(file.read_bytes())
