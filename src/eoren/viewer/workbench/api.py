"""Routes of the workbench. Each changes something, so each needs the token of the page."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import HTTPException
from fastapi.requests import Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.requests import ClientDisconnect

from eoren.errors import EorenError
from eoren.fs.streams import MAX_STREAM
from eoren.viewer.catalog import FieldEntry
from eoren.viewer.workbench.editing import Edit, Method, Mode, Operation, edit
from eoren.viewer.workbench.session import Workbench

FOLDER = "/api/workbench"


def add_routes(app: FastAPI, workbench: Workbench, admit: Callable[[Request], None]) -> None:
    """Add the routes of a workbench to the application of the viewer; ``admit`` refuses requests of others."""

    def entry_of(name: str) -> FieldEntry:
        if (entry := workbench.catalog.find(name)) is None:
            raise HTTPException(404, f"{name}: is not open")
        return entry

    admitted: dict[str, Any] = {"dependencies": [Depends(admit)]}

    @app.post(f"{FOLDER}/open", **admitted)
    async def open_file(name: str, request: Request) -> Response:
        return await _answer(request, lambda body: {"opened": workbench.add(name, body)})

    @app.post(f"{FOLDER}/write", **admitted)
    async def write(entry: str, path: str, request: Request) -> Response:
        return await _answer(request, lambda body: {"file": workbench.write(entry_of(entry), path)})

    @app.post(f"{FOLDER}/edit", **admitted)
    async def change(entry: str, options: Annotated[Edit, Depends(_edit)], request: Request) -> Response:
        return await _answer(request, lambda mask: edit(workbench.catalog, entry_of(entry), options, mask))


def _edit(
    operation: Operation,
    source: str = "",
    x: int = 0,
    y: int = 0,
    mode: Mode = "import",
    keep_color: float = 0.0,
    method: Method = "membrane",
    factor: float = 2.0,
) -> Edit:
    return Edit(operation, source, (x, y), mode, keep_color, method, factor)


async def _answer(request: Request, work: Callable[[bytes], dict[str, Any]]) -> Response:
    """Do work on the body of a request in another thread, and answer with its result or with one line."""
    try:
        body = await _read_body(request)
        return JSONResponse(await run_in_threadpool(work, body), headers={"Cache-Control": "no-store"})
    except EorenError as error:
        return PlainTextResponse(str(error), 400)
    except MemoryError:
        return PlainTextResponse("not enough memory; close other programs, or use a smaller image", 400)
    except ClientDisconnect:
        return Response(status_code=499)


async def _read_body(request: Request) -> bytes:
    """Read a body, as long as a file that is read from a stream may be."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_STREAM:
            raise HTTPException(413, f"a file must have at most {MAX_STREAM:,} bytes")
    return bytes(body)
