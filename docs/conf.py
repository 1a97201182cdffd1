"""The documentation site: ``sphinx-build -W docs build/site``."""

import re

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

from eoren import __version__

project = "EoREN"
author = "The EoREN developers"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings state shapes, which types do not
default_role = "code"
html_theme = "furo"
html_title = "EoREN"
html_copy_source = False
html_math_renderer = "mathml"


def _plain_links_to_sources(app, page, text):
    """Replace links to files outside docs/, which the site does not have, by the names of the files."""
    text[0] = re.sub(r"\[([^\]]*)\]\(\.\./([^)#]+)\)", r"\1 (`\2`)", text[0])


def _mathml(display):
    """Return a visitor that writes formulas as MathML, which browsers render without scripts, fonts or servers."""

    def visit(translator, node):
        translator.body.append(tex2mathml(node.astext(), as_block=display))
        raise nodes.SkipNode

    return visit, None


def setup(app):
    app.connect("source-read", _plain_links_to_sources)
    app.add_html_math_renderer("mathml", _mathml(False), _mathml(True))
