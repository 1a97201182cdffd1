import logging
import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import typer.main

from eoren import __version__
from eoren.cli import app
from eoren.errors import EorenError

COMMANDS = [*typer.main.get_command(app).commands]
# Runs the command line and then prints which slow packages it has imported.
WATCHED = """
import sys
from eoren.cli import main
try:
    main(sys.argv[1:])
finally:
    print("loaded:", *{"torch", "numpy", "scipy", "PIL"} & {*sys.modules}, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], 0),
        (["--version"], 0),
        ([], 0),
        (["fit", "--help"], 0),
        (["fit", "a.png", "--steps", "abc"], 2),
        (["nope"], 2),
    ],
)
def test_help_and_usage_errors_load_no_heavy_package(arguments, status):
    done = subprocess.run([sys.executable, "-c", WATCHED, *arguments], capture_output=True, text=True)
    assert done.returncode == status
    assert done.stderr.splitlines()[-1] == "loaded:"


def test_wrong_outputs_are_refused_before_torch_is_loaded(picture):
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, "fit", picture, "-o", "missing/a.eoren"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "torch" not in done.stderr.splitlines()[-1]


def test_python_m_eoren():
    done = subprocess.run([sys.executable, "-m", "eoren", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{__version__}\n", "")
    done = subprocess.run([sys.executable, "-m", "eoren", "fit"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "eoren: Missing argument 'IMAGE'; see eoren fit --help\n")


def test_closed_stdout(field_file):
    command = [sys.executable, "-m", "eoren", "info", field_file]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        child.stdout.close()
        assert child.stderr.read() == b""
    assert child.returncode == 141


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")  # noqa: PTH110
@pytest.mark.parametrize("arguments", [["info", "tiny.eoren"], ["info", "tiny.eoren", "--json"], ["--help"]])
def test_stdout_that_cannot_be_written(field_file, arguments):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        command = [sys.executable, "-m", "eoren", *arguments]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    message = "eoren: No space left on device; free space, or check the disk and the permissions\n"
    assert (done.returncode, done.stderr) == (2, message)


def test_os_errors_are_one_line(refused, picture, monkeypatch):
    def fail(*_, **__):
        raise OSError(5, "Input/output error", "there")

    monkeypatch.setattr("eoren.image.io.read_source_image", fail)
    assert refused("fit", picture) == "there: Input/output error; free space, or check the disk and the permissions"


@pytest.mark.parametrize("columns", [60, 80])
def test_help_names_every_command(eoren, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    status, out, err = eoren("--help")
    assert max(map(len, out.splitlines())) <= columns
    assert (status, err) == (0, "")
    assert all(f"\n  {name} " in out for name in COMMANDS)
    assert "..." not in out.partition("Commands:")[2]  # every summary fits
    assert eoren() == (0, out, "")


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_the_terminal(eoren, monkeypatch, command, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    status, out, err = eoren(command, "--help")
    assert (status, err) == (0, "")
    assert max(map(len, out.splitlines())) <= columns
    assert "<bool>" not in out
    assert "<str>" not in out.partition("Options:")[2]


def test_the_short_option_for_help(eoren):
    for words in ([], ["fit"]):
        assert eoren(*words, "-h") == eoren(*words, "--help")


def test_completion_for_a_shell(eoren, monkeypatch):
    # The shell is found among the parents of the process, where tests may have none.
    monkeypatch.setattr("shellingham.detect_shell", lambda *_: ("bash", "/bin/bash"))
    status, out, err = eoren("--show-completion", "bash")
    assert (status, err) == (0, "")
    assert "_EOREN_COMPLETE=complete_bash" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope"], "No such command 'nope'; see eoren --help"),
        (["rendr"], "No such command 'rendr'. Did you mean 'render'? See eoren --help"),
        (["--nope"], "No such option: --nope; see eoren --help"),
        (
            ["fit", "a.png", "--objective", "color"],
            "Invalid value for '--objective': 'color' is not one of 'gradient', "
            "'pixel', 'sobolev'; see eoren fit --help",
        ),
        (["fit"], "Missing argument 'IMAGE'; see eoren fit --help"),
        (["evaluate", "a.eoren"], "Missing argument 'IMAGE'; see eoren evaluate --help"),
        (["render", "a.eoren"], "Missing option '--output' / '-o'; see eoren render --help"),
    ],
)
def test_wrong_commands(refused, arguments, message):
    assert refused(*arguments) == message


def test_keyboard_interrupt_exits_with_status_130(eoren, picture, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("eoren.image.io.read_source_image", interrupt)
    assert eoren("fit", picture) == (130, "", "")
    assert not os.path.exists("tiny.eoren")  # noqa: PTH110


def test_termination_removes_temporary_files(field_file, folder):
    """The signal comes during a rendering that would take an hour."""
    command = [sys.executable, "-m", "eoren", "render", field_file, "-o", "a.npy", "--size", "1000000x1000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        while not any(path.name.startswith(".eoren-") and path.stat().st_size for path in folder.iterdir()):
            assert child.poll() is None
            time.sleep(0.02)
        before = {*folder.iterdir()}
        child.terminate()
        assert child.communicate() == (b"", b"")
    assert child.returncode == 130
    assert len(before - {*folder.iterdir()}) == 1
    assert {*folder.iterdir()} == {field_file}


@pytest.mark.parametrize("where", ["main", "elsewhere"])
def test_signal_handlers_are_restored(eoren, where):
    before = signal.getsignal(signal.SIGTERM)
    if where == "main":
        eoren("--version")
    else:  # Python sets signal handlers in the main thread only
        with ThreadPoolExecutor(1) as threads:
            assert threads.submit(eoren, "--version").result() == (0, f"{__version__}\n", "")
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("std::bad_alloc"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
        RuntimeError("can't start new thread"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        ImportError("libgomp.so.1: cannot allocate memory in static TLS block"),
    ],
    ids=str,
)
def test_out_of_memory_is_one_line(refused, picture, monkeypatch, error):
    def exhaust(*_, **__):
        raise error

    monkeypatch.setattr("eoren.image.io.read_source_image", exhaust)
    assert refused("fit", picture) == "not enough memory; close other programs, or reduce the size"


def test_missing_memory_for_an_image_is_no_fault_of_its_file(refused, picture, monkeypatch):
    def exhaust(*_):
        raise MemoryError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", exhaust)
    assert refused("fit", picture) == "not enough memory; close other programs, or reduce the size"


def test_bugs_are_not_hidden(picture, monkeypatch):
    from eoren.cli import main

    def fault(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setattr("eoren.image.io.read_source_image", fault)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["fit", str(picture)])


@pytest.mark.parametrize(("option", "levels"), [([], []), (["-v"], ["INFO"]), (["-vv"], ["DEBUG", "INFO"])])
def test_verbose_prints_log_records(eoren, field_file, monkeypatch, option, levels):
    logger = logging.getLogger("eoren.field")
    before = (logging.getLogger("eoren").level, [*logging.getLogger("eoren").handlers])

    def load(*_, **__):
        logger.debug("two\nlines")
        logger.info("%d numbers", 5)
        raise EorenError("stopped")

    monkeypatch.setattr("eoren.field.serialization.load", load)
    lines = {"DEBUG": "eoren: DEBUG: eoren.field: two\\nlines\n", "INFO": "eoren: INFO: eoren.field: 5 numbers\n"}
    status, out, err = eoren(*option, "info", field_file)
    assert (status, out, err) == (2, "", "".join(lines[level] for level in levels) + "eoren: stopped\n")
    assert (logging.getLogger("eoren").level, logging.getLogger("eoren").handlers) == before


def test_help_is_fast():
    """At most 0.3 seconds of processor time beyond that of Python itself."""

    def seconds(*arguments):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds("-m", "eoren", "--help") - seconds("-c", "pass") for _ in range(3)) < 0.3
