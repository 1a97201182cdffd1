"""The source code executes nothing from a file, and needs nothing that Windows or macOS does not have."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*ROOT.glob("src/eoren/**/*.py"), *ROOT.glob("benchmarks/**/*.py"), *ROOT.glob("tests/fuzz/*.py")])
MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml", "jsonpickle"}
CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "torch.load",
    "torch.jit.load",
    "pandas.read_pickle",
}
NUMPY = {"np.load", "numpy.load", "np.lib.format.read_array"}


def dangers(code):
    """Find imports and calls by which code could execute the content of a file."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = (
                [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            )
            yield from (f"import {module}" for module in modules if module.split(".")[0] in MODULES)
            if isinstance(node, ast.ImportFrom):  # from torch import load
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                yield from (f"import {name}" for name in names & (CALLS | NUMPY))
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            safe = any(word.arg == "allow_pickle" and ast.unparse(word.value) == "False" for word in node.keywords)
            if name in CALLS or (name in NUMPY and not safe):
                yield name
            yield from (f"shell in {name}" for word in node.keywords if word.arg == "shell")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_can_execute_a_file(path):
    assert list(dangers(path.read_text(encoding="utf-8"))) == []


def test_there_are_sources():
    assert len(SOURCES) > 60


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "import torch, pickle as p",
        "from pickle import loads",
        "torch.load(path)",
        "torch.load(path, weights_only=True)",
        "from torch import load",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "eval(text)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_the_search_for_dangers_finds(code):
    assert list(dangers(code))


def test_the_search_for_dangers_has_no_false_positives():
    assert list(dangers("np.load(path, allow_pickle=False); safetensors.torch.load(data); re.compile('a')")) == []


# Windows and macOS.

PACKAGE = sorted(ROOT.glob("src/eoren/**/*.py"))
MISSING_MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "posix", "crypt", "msvcrt"}
MISSING_NAMES = {
    "os": {
        *("fork", "forkpty", "getuid", "geteuid", "getgid", "getppid", "getloadavg", "killpg", "setsid", "setpgid"),
        *("mkfifo", "mknod", "chown", "chroot", "nice", "sched_getaffinity", "sched_setaffinity", "posix_fadvise"),
        *("posix_fallocate", "sendfile", "statvfs", "sync", "sysconf", "uname", "wait", "wait4", "pread", "pwrite"),
        *("O_DIRECTORY", "O_NOFOLLOW", "O_CLOEXEC", "O_TMPFILE", "O_SYNC", "O_DIRECT", "O_NONBLOCK", "memfd_create"),
        *("kill", "rename"),  # on Windows, kill ends processes at once, and rename does not replace files
    },
    "signal": {"SIGKILL", "SIGALRM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGSTOP", "SIGCONT", "SIGCHLD", "SIGPIPE"}
    | {"alarm", "setitimer", "pause", "pthread_sigmask", "sigwait"},
    "socket": {"AF_UNIX", "socketpair"},
    "time": {"tzset", "clock_gettime"},
    "tempfile": {"NamedTemporaryFile"},  # on Windows it cannot be opened again
}
SYSTEM_PATHS = ("/dev/", "/proc/", "/tmp", "/sys/", "/etc/", "/usr/", "/var/")
# Functions whose default encoding depends on the system.
ENCODED = {"read_text", "write_text", "open"}


def is_system_path(value):
    return str(value).startswith(SYSTEM_PATHS)


def missing_elsewhere(code):
    """Find names that other systems do not have, outside of try blocks that handle their absence."""
    tree = ast.parse(code)
    guarded = set()
    for node in ast.walk(tree):
        handlers = node.handlers if isinstance(node, ast.Try) else []
        caught = " ".join(ast.unparse(handler.type) for handler in handlers if handler.type)
        if any(error in caught for error in ("OSError", "AttributeError", "ImportError")):
            guarded |= {id(child) for statement in node.body for child in ast.walk(statement)}
    documentation = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if id(node) in guarded:
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = (getattr(node, "module", None) or "").split(".")[0]
            names = {alias.name for alias in node.names}
            roots = {name.split(".")[0] for name in names} if isinstance(node, ast.Import) else {module}
            yield from (f"import {root}" for root in roots & MISSING_MODULES if not getattr(node, "level", 0))
            yield from (f"{module}.{name}" for name in names & MISSING_NAMES.get(module, set()))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in MISSING_NAMES.get(node.value.id, ()):
                yield ast.unparse(node)
        elif isinstance(node, ast.Constant) and id(node) not in documentation and is_system_path(node.value):
            yield str(node.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ENCODED:
            name = ast.unparse(node.func)
            values = [*node.args, *(word.value for word in node.keywords)]
            texts = [
                value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str)
            ]
            binary = any("b" in text and set(text) <= set("rwaxb+") for text in texts)
            encoded = any(text.lower() in ("utf-8", "ascii", "latin-1") for text in texts)
            other = name in (
                "os.open",
                "Image.open",
                "Pillow.open",
                "webbrowser.open",
                "tarfile.open",
                "archive.open",
                "safe_open",
            )
            ours = name == "write_text"  # that of eoren.fs.files
            if not (binary or encoded or other or ours):
                yield f"{ast.unparse(node)}: no encoding"


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_needs_names_missing_on_windows_or_macos(path):
    assert list(missing_elsewhere(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "code",
    [
        "import fcntl",
        "from resource import getrusage",
        "os.fork()",
        "from os import fork",
        "os.open(path, os.O_RDONLY | os.O_NOFOLLOW)",
        "len(os.sched_getaffinity(0))",
        "signal.signal(signal.SIGALRM, handler)",
        "os.kill(number, 9)",
        "open('/dev/null', 'rb')",
        "Path('/proc/meminfo').read_bytes()",
        "path.read_text()",
        "open(path, 'w')",
        "with tempfile.NamedTemporaryFile() as file: read(file.name)",
        "try:\n    import fcntl\nexcept ValueError:\n    pass",
    ],
)
def test_the_search_for_other_systems_finds(code):
    assert list(missing_elsewhere(code))


def test_the_search_for_other_systems_has_no_false_positives():
    code = """
'''Not /dev/zero, nor os.fork.'''
try:
    import fcntl
    count = len(os.sched_getaffinity(0))
    open('/proc/cpuinfo', encoding='utf-8')
except (ImportError, AttributeError, OSError):
    count = os.cpu_count()
path.open('rb'), path.read_text('utf-8'), signal.signal(signal.SIGTERM, stop), os.replace(a, b), os.O_RDONLY
"""
    assert list(missing_elsewhere(code)) == []


def test_names_of_files_are_valid_on_all_systems():
    """No name of a file is invalid on Windows, or differs from another in case only."""
    names = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if ".git" not in path.parts]
    names = [name for name in names if name.split("/")[0] in ("src", "tests", "docs", "benchmarks", "examples")]
    names = [name for name in names if "__pycache__" not in name]
    assert len(names) > 200
    assert [name for name in names if set(name) & set('<>:"\\|?*') or name.endswith((" ", "."))] == []
    assert len({name.lower() for name in names}) == len(names)
