"""What a page shows and may do: entries of a catalog, and a fit that it follows."""

from typing import TYPE_CHECKING

from fastapi.requests import Request

from eoren.viewer.catalog import FieldCatalog, FieldEntry

if TYPE_CHECKING:
    from eoren.viewer.live import LiveFit


class Session:
    """Entries on display, and a fit that the page follows from the start, if there is one."""

    REFUSAL = "only this server's page controls the fit"

    def __init__(self, catalog: FieldCatalog, live: "LiveFit | None" = None) -> None:
        self.catalog, self.live = catalog, live

    @property
    def is_live(self) -> bool:
        """Whether the page follows a fit."""
        return self.live is not None

    def entries(self) -> list[FieldEntry]:
        """Return the entries to list."""
        return self.catalog.entries()

    def admits(self, request: Request) -> bool:
        """Whether a request that changes something is the page's own.

        Browsers let other pages send such a request; they cannot change where it comes from.
        """
        return request.headers.get("origin") == f"{request.url.scheme}://{request.headers['host']}"

    def is_shared(self, entry: FieldEntry) -> bool:
        """Whether every web page may read an entry, as the IIIF protocol has it."""
        return True

    def close(self) -> None:
        """End what the session has begun."""
