"""The documentation site: ``sphinx-build -W docs build/site``."""

import re

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util.docutils import SphinxDirective
from typer import Context
from typer.main import get_command

from eoren import __version__
from eoren.cli import app as commands

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


class Commands(SphinxDirective):
    """A section for each command of the command line, with its help."""

    def run(self):
        """Return the sections."""
        root = get_command(commands)
        sections = []
        for name in root.commands:
            parent = Context(root, info_name="eoren", terminal_width=88, help_option_names=["-h", "--help"])
            context = Context(root.commands[name], parent, info_name=name, max_content_width=88)
            text = root.commands[name].get_help(context)
            title, block = nodes.title("", f"eoren {name}"), nodes.literal_block(text, text, language="text")
            sections.append(nodes.section("", title, block, ids=[f"eoren-{name}"]))
        return sections


def setup(app):
    app.add_directive("commands", Commands)
    app.connect("source-read", _plain_links_to_sources)
    app.add_html_math_renderer("mathml", _mathml(False), _mathml(True))
