"""The web application: the page, its API, and the IIIF Image API 3.0 for every layer of every entry.

Security: the server listens on one address, answers only requests that name its own host, and serves only entries of
the catalog and the page's own files. No part of an address becomes a file path.
"""

import gzip
import ipaddress
import logging
import os
import re
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from functools import cache, partial
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from threading import Thread
from time import sleep
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, unquote

from fastapi import FastAPI
from fastapi.exceptions import HTTPException
from fastapi.requests import Request
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from eoren._version import __version__
from eoren.cancellation import Cancelled
from eoren.errors import EorenError
from eoren.viewer import iiif
from eoren.viewer.catalog import MAX_MAGNIFICATION, FieldEntry, View
from eoren.viewer.edge_profile import edge_profile
from eoren.viewer.layers import color_key, render
from eoren.viewer.manifest import manifest
from eoren.viewer.session import Session
from eoren.viewer.tile_cache import TileCache
from eoren.viewer.workbench.api import add_routes
from eoren.viewer.workbench.session import Workbench

if TYPE_CHECKING:
    from eoren.viewer.live import LiveFit

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]

LOOPBACK = "127.0.0.1"

_CONTENT_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".txt": "text/plain"}
_PAGE_FILES = {
    path.name: f"{_CONTENT_TYPES[Path(path.name).suffix]}; charset=utf-8"
    for path in files("eoren.viewer").joinpath("static").iterdir()
}
_POLICY = "default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
_SECURITY_HEADERS = [
    ("content-security-policy", _POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
]
# The IIIF protocol lets every web page read the images.
_CORS = {"Access-Control-Allow-Origin": "*"}
_PRIVATE = {"Cross-Origin-Resource-Policy": "same-origin"}  # of entries that it may not read
_PREFLIGHT = {**_CORS, "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS", "Access-Control-Allow-Headers": "*"}
_NO_STORE = {"Cache-Control": "no-store"}
_GET = ["GET", "HEAD"]

_log = logging.getLogger(__name__)


def _make_app(session: Session, cache: TileCache, host: str) -> App:
    app, catalog = FastAPI(docs_url=None, redoc_url=None, openapi_url=None), session.catalog
    is_workbench = isinstance(session, Workbench)

    def admit(request: Request) -> None:
        if not session.admits(request):
            raise HTTPException(403, session.REFUSAL)

    @app.exception_handler(HTTPException)
    def refuse(_: Request, error: HTTPException) -> Response:
        return PlainTextResponse(error.detail, error.status_code)

    if isinstance(session, Workbench):
        add_routes(app, session, admit)

    @app.api_route("/", methods=_GET)
    async def page(request: Request) -> Response:
        return _page_file("index.html", request)

    @app.api_route("/static/{name}", methods=_GET)
    async def static(name: str, request: Request) -> Response:
        return _page_file(name, request) if name in _PAGE_FILES else PlainTextResponse("no such file", 404)

    @app.api_route("/api/catalog", methods=_GET)
    async def entries() -> Response:
        described = {"entries": [_summary(entry) for entry in session.entries()], "live": session.is_live}
        return JSONResponse({**described, "workbench": is_workbench}, headers=_NO_STORE)

    @app.api_route("/api/live", methods=_GET)
    def live_status() -> Response:
        return JSONResponse(followed().status(), headers=_NO_STORE)

    @app.post("/api/live/{action}")
    def control_fit(action: Literal["stop", "go-on"], request: Request) -> Response:
        fit = followed()
        admit(request)
        if action == "stop":
            fit.stop()
        else:
            fit.go_on()
        return Response(status_code=204)

    def followed() -> "LiveFit":
        if session.live is None:
            raise HTTPException(404, "no fit is running")
        return session.live

    @app.api_route("/api/probe/{name}", methods=_GET)
    def probe(name: str, x: float, y: float) -> Response:
        entry = catalog.find(name)
        if entry is None:
            return PlainTextResponse("no such entry", 404)
        if not (0 <= x <= 1 and 0 <= y <= 1):
            return PlainTextResponse(f"the point must lie in the unit square, got ({x}, {y})", 400)
        return JSONResponse(entry.probe(x, y), headers=_NO_STORE)

    @app.api_route("/api/profile/{name}", methods=_GET)
    def profile(name: str, x0: float, y0: float, x1: float, y1: float) -> Response:
        entry = catalog.find(name)
        if entry is None:
            return PlainTextResponse("no such entry", 404)
        try:
            return JSONResponse(edge_profile(entry, (x0, y0, x1, y1)), headers=_NO_STORE)
        except EorenError as error:
            return PlainTextResponse(str(error), 400)

    @app.api_route("/iiif/{rest:path}", methods=[*_GET, "OPTIONS"])
    async def image(rest: str, request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=_PREFLIGHT)
        # The path before decoding: an escaped slash does not separate parts.
        raw: bytes = request.scope["raw_path"]
        parts = raw.decode("ascii", "replace").partition("/iiif/")[2].split("/")
        return await _image(session, cache, [unquote(part) for part in parts], request)

    return _guard(app, host)


@contextmanager
def serve(session: Session, cache: TileCache, *, host: str = LOOPBACK, port: int = 0) -> Iterator[str]:
    """Serve from another thread while the ``with`` block runs, and yield the address of the page.

    Port 0 selects a free one. The cache and the session are closed at the end.
    """
    import uvicorn

    with _listen(host, port) as listener:
        config = uvicorn.Config(
            _make_app(session, cache, host),
            log_level="critical",  # the application logs its own errors
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            headers=_SECURITY_HEADERS,
            timeout_graceful_shutdown=3,
        )
        server = uvicorn.Server(config)
        thread = Thread(target=server.run, kwargs={"sockets": [listener]}, name="eoren-server", daemon=True)
        thread.start()
        try:
            while not server.started and thread.is_alive():
                sleep(0.005)
            yield _page_address(host, listener.getsockname()[1])
        finally:
            cache.stop()
            session.close()
            server.should_exit = True
            thread.join()
            cache.close()


def is_own_host(header: str, host: str) -> bool:
    """Check whether a request's ``Host`` names this server, to prevent DNS rebinding.

    A malicious page can make its own domain name resolve to this machine, and then read responses as its own. It
    cannot do so with an IP address or with ``localhost``. ``host`` is the address that the server listens on.
    """
    name = re.sub(r":\d*$", "", header, flags=re.ASCII).removeprefix("[").removesuffix("]").lower().rstrip(".")
    if name in ("localhost", host.lower()):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        # A server open to other machines is also reachable by this machine's name.
        return not is_loopback(host) and name in _machine_names()
    return address.is_loopback or not is_loopback(host)


@cache
def _machine_names() -> frozenset[str]:
    """Return the names of this machine; asking for them may take seconds."""
    return frozenset({socket.gethostname().lower(), socket.getfqdn().lower()})


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _guard(app: App, host: str) -> App:
    """Reject requests to other hosts, and log errors."""
    if not is_loopback(host):
        _machine_names()  # not when a request waits for them

    async def guarded(scope: Scope, receive: Any, send: Any) -> None:
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or not is_own_host(hosts[0], host):
            refusal = PlainTextResponse("the host of the request must be the address of this server", 421)
            await refusal(scope, receive, send)
            return
        try:
            await app(scope, receive, send)
        except Exception:  # already answered with status 500
            _log.exception("cannot answer %s", scope["path"])

    return guarded


def _page_file(name: str, http: Request) -> Response:
    headers = {"Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    content = files("eoren.viewer").joinpath("static", name).read_bytes()
    if re.search(r"\bgzip\b", http.headers.get("accept-encoding", "")):
        content, headers["Content-Encoding"] = _compress(content), "gzip"
    return Response(content, media_type=_PAGE_FILES[name], headers=headers)


_compress = cache(partial(gzip.compress, mtime=0))


def _summary(entry: FieldEntry) -> dict[str, Any]:
    """Describe an entry for the page."""
    width, height = entry.field.size
    return {
        "name": entry.name,
        "title": entry.title,
        "width": width,
        "height": height,
        "channels": entry.field.channels,
        "magnification": MAX_MAGNIFICATION,
        "parameters": entry.field.parameters,
        "steps": entry.field.provenance.steps,
        "metrics": entry.field.provenance.metrics,
        "image_notice": entry.image_notice,
        "file": entry.file,
        "operand": entry.operand,
        "layers": [
            {
                "name": layer.name,
                "label": layer.label,
                "description": layer.description,
                "key": color_key(layer),
                "iiif": "/iiif/" + quote(View(entry, layer, MAX_MAGNIFICATION).identifier, safe="~"),
            }
            for layer in entry.layers
        ],
    }


async def _image(session: Session, cache: TileCache, parts: list[str], http: Request) -> Response:
    """Answer a request of the IIIF Image API, given the decoded parts of its path."""
    identifier, *rest = parts
    view = session.catalog.view(identifier)
    if (
        view is None
        or len(rest) not in (0, 1, 4)
        or (len(rest) == 1 and rest[0] not in ("info.json", "manifest.json"))
    ):
        return PlainTextResponse("no such image", 404, headers=_CORS)
    sharing = _CORS if session.is_shared(view.entry) else _PRIVATE
    address = f"{http.url.scheme}://{http.headers['host']}/iiif/{quote(view.identifier, safe='~')}"
    if not rest:
        return RedirectResponse(f"{address}/info.json", 303, headers=sharing)
    if rest == ["manifest.json"]:
        base = address.removesuffix(quote(view.identifier, safe="~"))
        views = [View(view.entry, layer, MAX_MAGNIFICATION) for layer in view.entry.layers]
        images = [(view.layer.label, base + quote(view.identifier, safe="~")) for view in views]
        described = manifest(base + quote(view.entry.name), view.entry.title, views[0].size, images)
        return JSONResponse(described, headers=sharing | {"Cache-Control": "no-cache"})
    if len(rest) == 1:
        return _information(view, address, http, sharing)
    try:
        request = iiif.parse(*rest, width=view.size[0], height=view.size[1])
    except EorenError as error:
        return PlainTextResponse(str(error), 400, headers=sharing)
    key = f"{__version__} {view.entry.digest} {view.identifier}/{request.canonical}"
    headers = {
        **sharing,
        "Link": f'<{address}/{request.canonical}>;rel="canonical", <{iiif.PROFILE}>;rel="profile"',
        "ETag": f'"{sha256(key.encode()).hexdigest()[:32]}"',
        "Cache-Control": "no-cache",  # cache, but revalidate
    }
    if headers["ETag"] in http.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)

    async def is_connected() -> bool:
        return not await http.is_disconnected()

    while True:
        try:
            content = await cache.get(key, lambda token: render(view, request, token), is_connected)
        except Cancelled:
            if cache.stopped:
                return PlainTextResponse("the server is shutting down", 503, headers=sharing)
            if await is_connected():  # joined just after the tile was given up for its earlier clients
                continue
            return Response(status_code=499)
        return Response(content, media_type=iiif.FORMATS[request.format], headers=headers)


def _information(view: View, address: str, http: Request, sharing: Mapping[str, str]) -> Response:
    wants_json_ld = "application/ld+json" in http.headers.get("accept", "")
    content_type = f'application/ld+json;profile="{iiif.CONTEXT}"' if wants_json_ld else "application/json"
    headers = {**sharing, "Cache-Control": "no-cache", "Vary": "Accept", "Content-Type": content_type}
    headers["Link"] = f'<{iiif.PROFILE}>;rel="profile"'
    return JSONResponse(iiif.information(address, *view.size), headers=headers)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((str(address[0]), port), family=family)
    except (OSError, OverflowError) as error:
        # The numbers of gaierror are not those of the system.
        number = None if isinstance(error, socket.gaierror) else getattr(error, "errno", None)
        reason = os.strerror(number) if number else getattr(error, "strerror", None) or str(error)
        raise EorenError(
            f"cannot listen at {host or '(no address)'}, port {port} ({reason}); choose another --host or --port"
        ) from None


def _page_address(host: str, port: int) -> str:
    # A server that listens on all addresses is reachable on this machine by loopback.
    host = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"
