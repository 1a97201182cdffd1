"""What the source does not do: run what is in a file, or need what Windows or macOS lacks."""

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
    """What a piece of Python could run a file's content by."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names]
            yield from (f"import {each}" for each in modules if each.split(".")[0] in MODULES)
            if isinstance(node, ast.ImportFrom):  # by another name: from torch import load
                full = {f"{node.module}.{each.name}" for each in node.names}
                yield from (f"import {each}" for each in full & (CALLS | NUMPY))
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            safe = any(each.arg == "allow_pickle" and ast.unparse(each.value) == "False" for each in node.keywords)
            if name in CALLS or (name in NUMPY and not safe):
                yield name
            yield from (f"shell in {name}" for each in node.keywords if each.arg == "shell")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_can_run_what_it_reads(path):
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
def test_the_search_finds(code):
    assert list(dangers(code))


def test_the_search_finds_no_more():
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
        *("kill", "rename"),  # the one ends processes outright on Windows, the other replaces no file there
    },
    "signal": {"SIGKILL", "SIGALRM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGSTOP", "SIGCONT", "SIGCHLD", "SIGPIPE"}
    | {"alarm", "setitimer", "pause", "pthread_sigmask", "sigwait"},
    "socket": {"AF_UNIX", "socketpair"},
    "time": {"tzset", "clock_gettime"},
    "tempfile": {"NamedTemporaryFile"},  # Windows opens it no second time
}
PLACES = ("/dev/", "/proc/", "/tmp", "/sys/", "/etc/", "/usr/", "/var/")
# Text in files has an encoding of its own on every system, unless it is said.
ENCODED = {"read_text", "write_text", "open"}


def missing_elsewhere(code):
    """What a piece of Python uses that other systems lack, outside of what catches that it is not there."""
    tree = ast.parse(code)
    guarded = set()
    for node in ast.walk(tree):
        handlers = node.handlers if isinstance(node, ast.Try) else []
        caught = " ".join(ast.unparse(each.type) for each in handlers if each.type)
        if any(error in caught for error in ("OSError", "AttributeError", "ImportError")):
            guarded |= {id(each) for statement in node.body for each in ast.walk(statement)}
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
            names = {each.name for each in node.names}
            roots = {name.split(".")[0] for name in names} if isinstance(node, ast.Import) else {module}
            yield from (f"import {each}" for each in roots & MISSING_MODULES if not getattr(node, "level", 0))
            yield from (f"{module}.{each}" for each in names & MISSING_NAMES.get(module, set()))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in MISSING_NAMES.get(node.value.id, ()):
                yield ast.unparse(node)
        elif isinstance(node, ast.Constant) and id(node) not in documentation:
            yield from (each for each in [str(node.value)] if each.startswith(PLACES))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ENCODED:
            name = ast.unparse(node.func)
            values = [*node.args, *(each.value for each in node.keywords)]
            texts = [each.value for each in values if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            binary = any("b" in text and set(text) <= set("rwaxb+") for text in texts)
            said = any(each.lower() in ("utf-8", "ascii", "latin-1") for each in texts)
            other = name in (
                "os.open",
                "Image.open",
                "Pillow.open",
                "webbrowser.open",
                "tarfile.open",
                "archive.open",
                "safe_open",
            )
            ours = name == "write_text"  # eoren.fs.files', which says it
            if not (binary or said or other or ours):
                yield f"{ast.unparse(node)}: no encoding"


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_needs_what_windows_or_macos_lacks(path):
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


def test_the_search_for_other_systems_finds_no_more():
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


def test_names_of_our_own_files_are_names_everywhere():
    """No file of the repository has a name that Windows cannot write, or that differs from another by case alone."""
    names = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if ".git" not in path.parts]
    kept = [name for name in names if name.split("/")[0] in ("src", "tests", "docs", "benchmarks", "examples")]
    kept = [name for name in kept if "__pycache__" not in name]
    assert len(kept) > 200
    assert [name for name in kept if set(name) & set('<>:"\\|?*') or name.endswith((" ", "."))] == []
    assert len({name.lower() for name in kept}) == len(kept)
