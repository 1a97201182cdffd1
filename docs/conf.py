"""The documentation site: ``sphinx-build -W docs build/site``."""

import re
import subprocess
import sys
from pathlib import Path

from docutils.utils.math.latex2mathml import tex2mathml

from eoren import __version__

sys.path.insert(0, str(Path(__file__).parent))
from directives import Commands, LiveField, SettingsTable

project = "EoREN"
author = "The EoREN developers"
release = __version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings state shapes, which types do not
default_role = "code"
html_theme = "furo"
smartquotes = False  # they would join the hyphens of options
html_title = "EoREN"
html_logo = html_favicon = "logo.svg"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_math_renderer = "mathml"
copybutton_selector = "div.highlight-sh pre, div.highlight-python pre, div.highlight-js pre, div.highlight-bibtex pre"


def _repository():
    """Return the address of the repository that the site is built from, as a browser opens it, or None."""
    done = subprocess.run(
        ["git", "config", "--get", "remote.origin.url"], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    match = re.fullmatch(r"(?:https://|(?:ssh://)?git@)([\w.-]+)[:/](.+?)(?:\.git)?/?", done.stdout.strip())
    return f"https://{match[1]}/{match[2]}" if match else None


html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b69b0", "color-brand-content": "#0b69b0"},
    "dark_css_variables": {"color-brand-primary": "#5fb0f0", "color-brand-content": "#5fb0f0"},
}
repository = _repository()
if repository:
    html_theme_options["footer_icons"] = [{"name": "Repository", "url": repository, "html": "Repository"}]


def _link_sources(app, page, text):
    """Let links to files outside docs/ lead to the repository, or replace them by the names of the files."""
    target = rf"[\1]({repository}/blob/HEAD/\2)" if repository else r"\1 (`\2`)"
    text[0] = re.sub(r"\[([^\]]*)\]\(\.\./([^)#]+)\)", target, text[0])


def _mathml(display):
    """Return a visitor that writes formulas as MathML, which browsers render without scripts, fonts or servers."""
    from docutils import nodes

    def visit(translator, node):
        translator.body.append(tex2mathml(node.astext(), as_block=display))
        raise nodes.SkipNode

    return visit, None


def setup(app):
    app.add_directive("commands", Commands)
    app.add_directive("settings", SettingsTable)
    app.add_directive("live-field", LiveField)
    app.connect("source-read", _link_sources)
    app.add_html_math_renderer("mathml", _mathml(False), _mathml(True))
