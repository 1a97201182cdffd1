"""Directives of the documentation site: what is generated from the library itself."""

import inspect
import re
from dataclasses import MISSING, fields
from importlib import import_module
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective
from typer import Context
from typer.main import get_command

import eoren
from eoren.cli import app as commands
from eoren.cli.options import FitOptions
from eoren.training.compact.settings import PRESETS as COMPACT_PRESETS
from eoren.training.presets import PRESETS


class Commands(SphinxDirective):
    """A section for each command of the command line: usage, description, arguments and options."""

    def run(self):
        """Return the sections."""
        root = get_command(commands)
        return [self._section(root, name) for name in root.commands]

    def _section(self, root, name):
        command = root.commands[name]
        parent = Context(root, info_name="eoren", help_option_names=["-h", "--help"])
        context = Context(command, parent, info_name=name)
        section = nodes.section("", nodes.title("", f"eoren {name}"), ids=[f"eoren-{name}"])
        usage = re.sub("[{}]", "", " ".join(["eoren", name, *command.collect_usage_pieces(context)]))
        section += nodes.literal_block(usage, usage, language="text")
        for text in inspect.cleandoc(command.help).split("\n\n"):
            section += nodes.paragraph("", " ".join(text.split()))
        rows = nodes.definition_list(classes=["options"])
        for parameter in command.get_params(context):
            if record := parameter.get_help_record(context):
                term, text = (" ".join(part.split()) for part in record)
                term = re.sub(r"^([A-Z]\S*) <\w+>", r"\1", term)  # the type of an argument
                definition = nodes.definition("", nodes.paragraph("", text))
                rows += nodes.definition_list_item("", nodes.term("", "", nodes.literal("", term)), definition)
        section += rows
        return section


class SettingsTable(SphinxDirective):
    """Every attribute of a class of settings: default, meaning, option and the presets that change it."""

    required_arguments = 1

    def run(self):
        """Return a list of definitions."""
        module, _, name = self.arguments[0].rpartition(".")
        settings = getattr(import_module(module), name)
        presets = {**COMPACT_PRESETS, **PRESETS}
        own = {key: preset for key, preset in presets.items() if type(preset) is settings}
        meanings = _attributes(inspect.getdoc(settings))
        rows = nodes.definition_list(classes=["options"])
        for field in fields(settings):
            if field.name == "preset":
                continue
            default = None if field.default is MISSING else field.default
            text = nodes.paragraph()
            text += self.parse_inline(meanings[field.name][0].upper() + meanings[field.name][1:])[0]
            changed = {key: getattr(preset, field.name) for key, preset in own.items()}
            changed = {key: value for key, value in changed.items() if value != default}
            text += [nodes.Text(" Default: "), nodes.literal("", str(default).lower())]
            for number, (key, value) in enumerate(changed.items()):
                text += [nodes.Text(", " if number else "; presets: "), nodes.literal("", f"{key} {value}")]
            text += nodes.Text(".")
            option = f"--{field.name.replace('_', '-')}"
            has_option = field.name in _OPTIONS
            term = nodes.term("", "", nodes.literal("", field.name), nodes.Text("  "))
            term += nodes.literal("", option if has_option else f"--set {field.name}=...")
            rows += nodes.definition_list_item("", term, nodes.definition("", text))
        return [rows]


class LiveField(SphinxDirective):
    """An exported page in the site: a small field, fitted while the site is built."""

    required_arguments = 1

    def run(self):
        """Write the page into the folder of the site, and return a frame for it."""
        path = Path(self.env.app.outdir) / "live-field.html"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            image = eoren.read_image(self.arguments[0])[:320, 96:416]
            eoren.fit(image, preset="fast").field.export(path, title=self.arguments[0])
        frame = f'<iframe src="{path.name}" title="A field to zoom in" class="live-field" loading="lazy"></iframe>'
        return [nodes.raw("", frame, format="html")]


_OPTIONS = {*FitOptions.__dataclass_fields__, "objective", "parameters", "bits"}


def _attributes(docstring):
    """Return the meaning of each attribute of a docstring in Google's style."""
    section = docstring.split("Attributes:\n")[1]
    entries = re.findall(r"^ {4}(\w+): ((?:.|\n {5,})+)", section, re.MULTILINE)
    # Roles of Sphinx become code: the page is in Markdown.
    return {name: re.sub(r":\w+:(`[^`]+`)", r"\1", " ".join(text.split())) for name, text in entries}
