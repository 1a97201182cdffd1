"""The web application: the page, what it asks for, and the IIIF Image API 3.0 of everything on show.

It listens where it is told and nowhere else, answers requests for its own address alone, and serves nothing but
what is on show and the page's own files: no address is ever made into the path of a file.
"""

import ipaddress
import logging
import os
import re
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from hashlib import sha256
from importlib.resources import files
from threading import Thread
from time import sleep
from typing import Any
from urllib.parse import quote, unquote

from fastapi import FastAPI
from fastapi.requests import Request as Asked
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from eoren._version import __version__
from eoren.errors import EorenError
from eoren.viewer import iiif
from eoren.viewer.catalog import MAGNIFICATION, FieldCatalog, FieldEntry, View
from eoren.viewer.encoding import answer
from eoren.viewer.live import Live
from eoren.viewer.tile_cache import Abandoned, Tiles

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]

CACHE = 256 << 20
"""Memory for answers that are kept, in bytes."""

LOOPBACK = "127.0.0.1"

_PAGE = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "openseadragon.min.js": "text/javascript; charset=utf-8",
    "openseadragon.LICENSE.txt": "text/plain; charset=utf-8",
}
# Nothing but what comes from here; and no other page may hold this one in a frame.
_ONLY_OURS = (
    "default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
)
# IIIF images are for everybody who knows their address: the protocol has it so.
_FOR_ALL = {"Access-Control-Allow-Origin": "*"}
_OPEN = {**_FOR_ALL, "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS", "Access-Control-Allow-Headers": "*"}
_GET = ["GET", "HEAD"]

_log = logging.getLogger(__name__)


def application(gallery: FieldCatalog, tiles: Tiles, *, host: str = LOOPBACK, live: Live | None = None) -> App:
    """The web application.

    Args:
        gallery: what is on show.
        tiles: where answers are kept.
        host: that it listens at.
        live: a fit that is watched.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.api_route("/", methods=_GET)
    async def page() -> Response:
        return _file("index.html")

    @app.api_route("/static/{name}", methods=_GET)
    async def static(name: str) -> Response:
        return _file(name) if name in _PAGE else PlainTextResponse("there is no such file", 404)

    @app.api_route("/api/gallery", methods=_GET)
    async def exhibits() -> Response:
        shown = [_summary(exhibit) for exhibit in gallery.exhibits()]
        return JSONResponse({"exhibits": shown, "live": live is not None}, headers={"Cache-Control": "no-store"})

    @app.api_route("/api/live", methods=_GET)
    def standing() -> Response:
        if live is None:
            return PlainTextResponse("no fit is watched", 404)
        return JSONResponse(live.standing(), headers={"Cache-Control": "no-store"})

    @app.api_route("/api/at/{name}", methods=_GET)
    def at(name: str, x: float, y: float) -> Response:
        exhibit = gallery.find(name)
        if exhibit is None:
            return PlainTextResponse("nothing of that name is on show", 404)
        if not (0 <= x <= 1 and 0 <= y <= 1):
            return PlainTextResponse(f"({x}, {y}) lies outside of the unit square", 400)
        return JSONResponse(exhibit.at(x, y), headers={"Cache-Control": "no-store"})

    @app.api_route("/iiif/{rest:path}", methods=[*_GET, "OPTIONS"])
    async def image(rest: str, asked: Asked) -> Response:
        if asked.method == "OPTIONS":
            return Response(status_code=204, headers=_OPEN)
        # The address as it was sent: what is escaped in it may be a slash.
        raw: bytes = asked.scope["raw_path"]
        escaped = raw.decode("ascii", "replace").partition("/iiif/")[2].split("/")
        return await _image(gallery, tiles, escaped, asked)

    return _guarded(app, host)


@contextmanager
def serving(
    gallery: FieldCatalog, tiles: Tiles, *, host: str = LOOPBACK, port: int = 0, live: Live | None = None
) -> Iterator[str]:
    """Serve in a thread for as long as the block runs.

    Args:
        gallery: what is on show.
        tiles: where answers are kept.
        host: an address of this machine.
        port: a free one if it is 0.
        live: a fit that is watched.

    Yields:
        The page's address.

    Raises:
        EorenError: it cannot listen there.
    """
    import uvicorn

    with _listening(host, port) as listener:
        config = uvicorn.Config(
            application(gallery, tiles, host=host, live=live),
            log_level="critical",  # of its own; ours are told in `guarded`
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=3,
        )
        server = uvicorn.Server(config)
        thread = Thread(target=server.run, kwargs={"sockets": [listener]}, name="eoren-server", daemon=True)
        thread.start()
        try:
            while not server.started and thread.is_alive():
                sleep(0.005)
            yield _address(host, listener.getsockname()[1])
        finally:
            tiles.stop()
            server.should_exit = True
            thread.join()
            tiles.close()


def is_own(header: str, host: str) -> bool:
    """Whether a request's ``Host`` is this server, not a stranger's name that was made to point here.

    A page from elsewhere can have its own name resolved to this machine, and then read what is served here as if it
    were its own ("DNS rebinding"). Numbers cannot be made to point elsewhere, names of others can.

    Args:
        header: of the request.
        host: that the server listens at.

    Example:
        >>> is_own("127.0.0.1:8000", "127.0.0.1"), is_own("evil.example:8000", "127.0.0.1")
        (True, False)
    """
    name = re.sub(r":\d*$", "", header, flags=re.ASCII) if not header.endswith("]") else header
    name = name.removeprefix("[").removesuffix("]").lower().rstrip(".")
    if name in ("localhost", host.lower()):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        # Who opens the server to others reaches it by this machine's name too.
        return not _is_loopback(host) and name in (socket.gethostname().lower(), socket.getfqdn().lower())
    return address.is_loopback or not _is_loopback(host)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _guarded(app: App, host: str) -> App:
    """Refuse strangers' names, and say on every answer what a browser may do with it."""

    async def guarded(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        named = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(named) != 1 or not is_own(named[0], host):
            refusal = PlainTextResponse("this server does not go by that name; use its own address", 421)
            await refusal(scope, receive, send)
            return

        async def marked(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", _ONLY_OURS.encode()),
                    (b"x-content-type-options", b"nosniff"),
                    (b"referrer-policy", b"no-referrer"),
                ]
            await send(message)

        try:
            await app(scope, receive, marked)
        except Exception:  # it was answered, with status 500; whoever runs this is to know
            _log.exception("cannot answer %s", scope["path"])

    return guarded


def _file(name: str) -> Response:
    content = files("eoren.viewer").joinpath("static", name).read_bytes()
    return Response(content, media_type=_PAGE[name], headers={"Cache-Control": "no-cache"})


def _summary(exhibit: FieldEntry) -> dict[str, Any]:
    """What the page knows of an exhibit."""
    width, height = exhibit.field.size
    return {
        "name": exhibit.name,
        "title": exhibit.title,
        "width": width,
        "height": height,
        "channels": exhibit.field.channels,
        "parameters": exhibit.field.parameters,
        "metrics": exhibit.field.provenance.metrics,
        "magnification": MAGNIFICATION,
        "layers": [
            {
                "name": layer.name,
                "label": layer.label,
                "key": layer.key,
                "iiif": "/iiif/" + quote(View(exhibit, layer, MAGNIFICATION).identifier, safe="~"),
            }
            for layer in exhibit.layers
        ],
    }


async def _image(gallery: FieldCatalog, tiles: Tiles, escaped: list[str], asked: Asked) -> Response:
    """Answer an address of the IIIF Image API: its parts, as they were sent."""
    identifier, *rest = [unquote(part) for part in escaped]
    view = gallery.view(identifier)
    if view is None or len(rest) not in (0, 1, 4) or (len(rest) == 1 and rest != ["info.json"]):
        return PlainTextResponse("there is no such image", 404, headers=_FOR_ALL)
    address = f"{asked.url.scheme}://{asked.headers['host']}/iiif/{quote(view.identifier, safe='~')}"
    if not rest:
        return RedirectResponse(f"{address}/info.json", 303, headers=_FOR_ALL)
    if len(rest) == 1:
        return _information(view, address, asked)
    try:
        request = iiif.parse(rest[0], rest[1], rest[2], rest[3], width=view.width, height=view.height)
    except iiif.BadRequest as refused:
        return PlainTextResponse(str(refused), 400, headers=_FOR_ALL)
    key = f"{__version__} {view.exhibit.digest} {view.identifier}/{request.canonical}"
    headers = {
        **_FOR_ALL,
        "Link": f'<{address}/{request.canonical}>;rel="canonical", <{iiif.PROFILE}>;rel="profile"',
        "ETag": f'"{sha256(key.encode()).hexdigest()[:32]}"',
        "Cache-Control": "no-cache",  # keep it, and ask whether it is still the same
    }
    if headers["ETag"] in asked.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)

    async def waits() -> bool:
        return not await asked.is_disconnected()

    while True:
        try:
            content = await tiles.get(key, lambda go_on: answer(view, request, go_on), waits)
        except Abandoned:
            if tiles.stopped:
                return PlainTextResponse("the server ends", 503, headers=_FOR_ALL)
            if await waits():  # came just when the others were found to have gone
                continue
            return Response(status_code=499)
        return Response(content, media_type=iiif.FORMATS[request.format], headers=headers)


def _information(view: View, address: str, asked: Asked) -> Response:
    linked = "application/ld+json" in asked.headers.get("accept", "")
    kind = f'application/ld+json;profile="{iiif.CONTEXT}"' if linked else "application/json"
    headers = {**_FOR_ALL, "Cache-Control": "no-cache", "Vary": "Accept", "Content-Type": kind}
    headers["Link"] = f'<{iiif.PROFILE}>;rel="profile"'
    return JSONResponse(iiif.information(address, view.width, view.height), headers=headers)


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((str(where[0]), port), family=family)
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None)
        of_names = isinstance(error, socket.gaierror)  # which have numbers of their own
        reason = os.strerror(number) if number and not of_names else getattr(error, "strerror", None) or str(error)
        raise EorenError(
            f"cannot listen at {host or '(no address)'}, port {port} ({reason}); choose another --host or --port"
        ) from None


def _address(host: str, port: int) -> str:
    """Of the page: from everywhere means from here too."""
    here = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(host, host)
    return f"http://{f'[{here}]' if ':' in here else here}:{port}/"
