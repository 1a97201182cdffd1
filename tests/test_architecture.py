"""The layers of the source tree, as CONTRIBUTING.md draws them: imports point one way, modules stay small."""

import ast
import re
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / "src"

# From the bottom up. A package may import itself and every package on an earlier line.
LAYERS = (
    ("_version", "errors", "cancellation"),
    ("checks",),
    ("fs",),
    ("image",),
    ("coding",),
    ("model",),
    ("backends",),
    ("field",),
    ("evaluation",),
    ("training",),
    ("composition", "dataset", "experiments", "export", "viewer", "visualization"),
    ("__init__",),  # the public names of eoren
    ("cli",),
    ("__main__",),  # python -m eoren
)
# On one line, a package may import only itself and the packages named here.
PEERS = {
    "experiments": {"composition", "dataset", "visualization"},
    "viewer": {"composition", "export", "visualization"},
}
# (importing module, imported module) -> why the layers do not hold.
EXCEPTIONS = {
    # Field.export imports it when it is called, so that no file format is loaded with the field.
    ("eoren.field.field", "eoren.export"): "users look for exporting among the methods of a field",
}

LONGEST_MODULE = 400  # lines
LARGEST_PACKAGE = 12  # modules
# The command line must print its help without waiting for these.
SLOW_TO_IMPORT = {"matplotlib", "numpy", "PIL", "pyarrow", "ray", "safetensors", "scipy", "skimage", "torch"}


def module_name(path):
    parts = path.relative_to(SOURCES).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted((SOURCES / "eoren").rglob("*.py"))}
PACKAGES = sorted(name for name, path in MODULES.items() if path.name == "__init__.py")
LEVELS = {package: level for level, packages in enumerate(LAYERS) for package in packages}


def layer(module):
    """The package directly below ``eoren`` that a module belongs to."""
    return module.split(".")[1] if "." in module else "__init__"


def is_type_checking(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def import_statements(tree, at_import_time=False):
    """Yield every import of a module, or those only that run when the module is imported."""
    nodes = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif not (
            at_import_time
            and (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or is_type_checking(node))
        ):
            nodes += ast.iter_child_nodes(node)


def imports(module, at_import_time=False):
    """Yield (line, imported module) for each import of a module."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    for node in import_statements(tree, at_import_time):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        else:
            assert node.level == 0, f"{MODULES[module]}:{node.lineno}: use an absolute import"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield node.lineno, submodule if submodule in MODULES else node.module


def is_allowed(importing, imported):
    source, target = layer(importing), layer(imported)
    return (
        source == target
        or LEVELS[target] < LEVELS[source]
        or target in PEERS.get(source, ())
        or (importing, imported) in EXCEPTIONS
    )


def test_every_package_has_a_layer():
    assert {layer(module) for module in MODULES} == LEVELS.keys()
    assert PEERS.keys() | set().union(*PEERS.values()) <= {*LAYERS[-4]}


def test_packages_on_one_layer_do_not_import_each_other_in_a_circle():
    TopologicalSorter(PEERS).prepare()


def test_exceptions_are_still_needed():
    used = {(module, imported) for module in MODULES for _, imported in imports(module)}
    assert EXCEPTIONS.keys() <= used


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    """Imports inside functions and for type checking count, too."""
    wrong = [
        f"{MODULES[module].relative_to(ROOT)}:{line}: {layer(module)} must not import {imported}; "
        "move the shared code to a lower layer (LAYERS in tests/test_architecture.py)"
        for line, imported in imports(module)
        if imported.split(".")[0] == "eoren" and not is_allowed(module, imported)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", sorted(LEVELS))
def test_modules_of_a_package_do_not_import_each_other_in_a_circle(package):
    graph = defaultdict(set)
    for module in MODULES:
        if layer(module) == package:
            graph[module] |= {name for _, name in imports(module) if name in MODULES and layer(name) == package}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other in a circle: {' <- '.join(error.args[1])}")


@pytest.mark.parametrize("module", MODULES)
def test_modules_are_short(module):
    lines = len(MODULES[module].read_text(encoding="utf-8").splitlines())
    path = MODULES[module].relative_to(ROOT)
    assert lines <= LONGEST_MODULE, f"{path} must have at most {LONGEST_MODULE} lines, got {lines}: split it"


@pytest.mark.parametrize("package", PACKAGES[1:])
def test_packages_are_small_and_list_their_modules(package):
    path = MODULES[package]
    modules = sorted(file.stem for file in path.parent.glob("*.py") if file != path)
    assert len(modules) <= LARGEST_PACKAGE, f"{package} must have at most {LARGEST_PACKAGE} modules: split it"
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    missing = [module for module in modules if not re.search(rf"(?<!\w){module}(?!\w)", docstring)]
    assert not missing, f"{path.relative_to(ROOT)}: the docstring must list {', '.join(missing)} with a phrase each"
    stale = [name for name in re.findall(r"^(\w+)\.py\b", docstring, re.MULTILINE) if name not in modules]
    assert not stale, f"{path.relative_to(ROOT)}: the docstring lists {', '.join(stale)}, which do not exist"


def test_contributing_lists_every_package():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tree = re.search(r"```text\n(src/eoren.*?)```", text, re.DOTALL)
    assert tree, "CONTRIBUTING.md must draw the tree of src/eoren in a text block"
    drawn = set(re.findall(r"^ +(\w+)/ ", tree[1], re.MULTILINE))
    assert drawn == {name.split(".")[1] for name in PACKAGES[1:]}


def test_the_command_line_starts_without_slow_imports():
    """Follow the imports that run when ``eoren.cli`` is imported, also those of other packages."""
    paths, waiting = {"eoren.cli": ("eoren.cli",)}, ["eoren.cli"]
    while waiting:
        module = waiting.pop()
        for _, imported in imports(module, at_import_time=True):
            path = (*paths[module], imported)
            assert imported.split(".")[0] not in SLOW_TO_IMPORT, (
                f"import {imported} inside the command: {' -> '.join(path)}"
            )
            parts = imported.split(".")
            for name in (".".join(parts[:end]) for end in range(1, len(parts) + 1)):
                if name in MODULES and name not in paths:  # importing a.b.c runs a and a.b first
                    paths[name] = path
                    waiting.append(name)
    assert len(paths) > 10
