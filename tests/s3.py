"""A server of S3 on this machine (moto's), with faults on request: latency, throttling, cut connections, old keys."""

import socket
import threading
import time
from contextlib import contextmanager

import pytest

ERROR = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{0}</Code><Message>{1}</Message></Error>'
ANSWERS = {
    "slow down": ("503 Slow Down", "SlowDown", "Please reduce your request rate."),
    "internal": ("500 Internal Server Error", "InternalError", "We encountered an internal error."),
    "expired": ("400 Bad Request", "ExpiredToken", "The provided token has expired."),
    "denied": ("403 Forbidden", "AccessDenied", "Access Denied"),
}


class Server:
    """The server; ``fault`` receives method and path of a request, and returns the name of a fault or None."""

    def __init__(self, application):
        self._application = application
        self.requests, self.fault, self.latency, self.buckets = [], None, 0.0, 0

    def __call__(self, environ, start_response):
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if environ["HTTP_HOST"].startswith("localhost"):  # the tests themselves
            return self._application(environ, start_response)
        fault = self.fault and self.fault(method, path)
        self.requests.append((method, path, environ.get("HTTP_RANGE", ""), fault))
        time.sleep(self.latency)
        if fault in ANSWERS:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            status, code, message = ANSWERS[fault]
            body = ERROR.format(code, message).encode()
            start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
            return [] if method == "HEAD" else [body]
        if fault == "cut":
            return self._cut(environ)
        answer = self._application(environ, start_response)
        if fault == "answer lost":  # the work is done
            b"".join(answer)
            return self._cut(environ)
        if fault == "half":
            return self._half(environ, b"".join(answer))
        return answer

    @staticmethod
    def _cut(environ):
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionAbortedError  # which the server ends without a word

    def _half(self, environ, body):
        yield body[: len(body) // 2]
        self._cut(environ)

    def count(self, *methods):
        return sum(method in methods for method, *_ in self.requests)


@contextmanager
def serving():
    pytest.importorskip("s3fs", reason="needs s3fs")
    pytest.importorskip("flask_cors", reason="needs the server of moto")
    application = pytest.importorskip("moto.moto_server.werkzeug_app", reason="needs moto")
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *_):
            pass

    server = Server(application.DomainDispatcherApplication(application.create_backend_app))
    listening = make_server("127.0.0.1", 0, server, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    server.port = listening.server_port
    try:
        yield server
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()
