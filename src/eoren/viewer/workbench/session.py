"""Images that the page sends: one fit at a time, whose result is listed and can be written.

Requests that change anything need the token of the page, which is in the address that the terminal prints: other
pages do not know it.
"""

import hmac
import logging
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from secrets import token_urlsafe
from threading import Lock, Thread
from typing import TYPE_CHECKING, Literal

from fastapi.requests import Request

from eoren.errors import EorenError
from eoren.field.serialization import load, save
from eoren.fs.files import check_writable, locked
from eoren.fs.names import as_line
from eoren.image.io import SourceImage, read_source_image
from eoren.viewer.catalog import FieldCatalog, FieldEntry
from eoren.viewer.session import Session
from eoren.viewer.tile_cache import TileCache

if TYPE_CHECKING:
    from eoren.viewer.live import LiveFit

SUFFIX = ".eoren"
_log = logging.getLogger(__name__)


class Workbench(Session):
    """Fits and files of one page. Thread-safe."""

    REFUSAL = "the token must be that of this server; open the address in the terminal"

    def __init__(self, catalog: FieldCatalog, cache: TileCache, *, folder: Path, overwrite: bool = False) -> None:
        """Make a workbench.

        Args:
            catalog: entries on display.
            cache: cache that draws them.
            folder: folder that fields are written to, or to folders in it.
            overwrite: whether existing files may be replaced.
        """
        super().__init__(catalog)  # its fit is the last one, which may have ended
        self.token = token_urlsafe(24)
        self._files = frozenset(entry.name for entry in catalog.entries())  # that the user named in the terminal
        self._is_closed = False
        self._cache, self._folder, self._overwrite = cache, folder.resolve(), overwrite
        self._lock = Lock()
        self._thread: Thread | None = None

    def admits(self, request: Request) -> bool:
        """Whether a request has the token of the page."""
        authorization = request.headers.get("authorization", "")
        return hmac.compare_digest(authorization.encode(), f"Bearer {self.token}".encode())

    def is_shared(self, entry: FieldEntry) -> bool:
        """Whether other pages may read an entry: not one that was dropped on the page, or fitted there."""
        return entry.name in self._files

    @property
    def is_live(self) -> bool:
        """Whether a fit is running."""
        return self.live is not None and not self.live.has_ended

    def entries(self) -> list[FieldEntry]:
        """Return the entries to list: all, or while a fit is running its field alone."""
        live = self.live
        if live is None:
            return self.catalog.entries()
        if not live.has_ended:
            return [live.current] if live.current else []
        return [entry for entry in self.catalog.entries() if entry not in live.outdated]

    def add(self, name: str, content: bytes) -> Literal["field", "fit"]:
        """List the field of an .eoren file, or start to fit an image; return which.

        Raises:
            EorenError: the file cannot be read, or a fit is running.
        """
        name = as_line(Path(name).name) or "image"
        stream = BytesIO(content)
        stream.name = name  # begins messages
        if Path(name).suffix == SUFFIX:
            self.catalog.add(Path(name).stem, load(stream), digest=sha256(content).hexdigest(), file=name)
            return "field"
        self._check_idle()
        self._start(read_source_image(stream), name)
        return "fit"

    def write(self, entry: FieldEntry, path: str) -> str:
        """Write the field of an entry to a path below the folder, and return the path.

        Raises:
            EorenError: the path is outside the folder, does not end in .eoren, exists, or cannot be written.
        """
        try:
            target = (self._folder / path).resolve()
        except (OSError, ValueError):  # a loop of links, a NUL
            raise EorenError(f"{as_line(path)}: must be the path of a file; choose another path") from None
        if not target.is_relative_to(self._folder) or target == self._folder:
            raise EorenError(f"{path}: must lie in the folder that eoren view was started in; choose another path")
        if target.suffix != SUFFIX:
            raise EorenError(f"{path}: must end in {SUFFIX}; add it")
        check_writable(target)
        with locked(target):
            if target.exists() and not self._overwrite:
                raise EorenError(f"{path}: exists; choose another path, or start eoren view with --overwrite")
            save(entry.field, target)
        written = str(target.relative_to(self._folder))
        self.catalog.set_file(entry, written)
        return written

    def close(self) -> None:
        """Stop the fit, if one is running, and wait for its end; no other one starts."""
        with self._lock:
            self._is_closed = True
        if self.live is not None:
            self.live.stop()
        if self._thread is not None:
            self._thread.join()

    def _check_idle(self) -> None:
        if self._is_closed:
            raise EorenError("eoren view is ending; start it again")
        if self.is_live:
            raise EorenError("a fit is running; stop it, or wait for its end")

    def _start(self, source: SourceImage, name: str) -> None:
        from eoren.viewer.live import LiveFit

        with self._lock:
            self._check_idle()  # another request may have started one
            for entry in [] if self.live is None else self.live.outdated:
                self.catalog.remove(entry)
            live = LiveFit(self.catalog, Path(name).stem, source.pixels, lambda: self._cache.render_seconds)
            self.live = live
            self._thread = Thread(target=self._fit, args=(source, name, live), name="eoren-fit", daemon=True)
            self._thread.start()

    def _fit(self, source: SourceImage, name: str, live: "LiveFit") -> None:
        from eoren.training.fit import fit

        try:
            result = fit(source, watch=live.watch)
        except EorenError as error:
            self._fail(live, f"{name}: {error}")
        except Exception:
            self._fail(live, f"{name}: the fit failed; see the terminal of eoren view")
            _log.exception("cannot fit %s", name)
        else:
            if not result.steps:
                self._fail(live, f"{name}: stopped before the first step")
                return
            ended = "stopped" if result.ended == "interrupted" else result.ended
            live.finish(result.field, ended, name=Path(name).stem, image_sha256=source.sha256, image_file=name)

    def _fail(self, live: "LiveFit", message: str) -> None:
        for entry in self.catalog.entries():
            if entry is live.current or entry in live.outdated:
                self.catalog.remove(entry)
        live.fail(message)
