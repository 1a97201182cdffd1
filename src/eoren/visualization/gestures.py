"""Pan and zoom of pages that draw by themselves: the widget of notebooks and exported pages."""

from importlib.resources import files


def read_gestures() -> str:
    """Return the script that defines ``followGestures``, to be put in front of the script that calls it."""
    return files("eoren.visualization").joinpath("gestures.js").read_text("utf-8")
