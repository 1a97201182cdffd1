import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import typer.main

from eoren import __version__
from eoren.cli import app

COMMANDS = [*typer.main.get_command(app).commands]
# The program as the shell starts it, telling afterwards whether it has loaded what takes time.
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
def test_answers_without_loading_anything(arguments, status):
    done = subprocess.run([sys.executable, "-c", WATCHED, *arguments], capture_output=True, text=True)
    assert done.returncode == status
    assert done.stderr.splitlines()[-1] == "loaded:"


def test_wrong_places_are_refused_before_torch_is_loaded(picture):
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, "fit", picture, "-o", "missing/a.eoren"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "torch" not in done.stderr.splitlines()[-1]


def test_module_is_the_program():
    done = subprocess.run([sys.executable, "-m", "eoren", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{__version__}\n", "")
    done = subprocess.run([sys.executable, "-m", "eoren", "fit"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "eoren: Missing argument 'IMAGE'; see eoren fit --help\n")


def test_reader_that_goes_away(field_file):
    command = [sys.executable, "-m", "eoren", "info", field_file]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        child.stdout.close()
        assert child.stderr.read() == b""
    assert child.returncode == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")  # noqa: PTH110
@pytest.mark.parametrize("arguments", [["info", "tiny.eoren"], ["info", "tiny.eoren", "--json"], ["--help"]])
def test_results_that_cannot_be_written(field_file, arguments):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        command = [sys.executable, "-m", "eoren", *arguments]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    message = "eoren: No space left on device; free space, or check the disk and the permissions\n"
    assert (done.returncode, done.stderr) == (2, message)


def test_whatever_a_system_refuses_is_one_line(refused, picture, monkeypatch):
    def fail(*_):
        raise OSError(5, "Input/output error", "there")

    monkeypatch.setattr("eoren.image.io.read_source_image", fail)
    assert refused("fit", picture) == "there: Input/output error; free space, or check the disk and the permissions"


def test_help_names_every_command(eoren):
    status, out, err = eoren("--help")
    assert (status, err) == (0, "")
    assert all(f"\n  {name} " in out for name in COMMANDS)
    assert "..." not in out.partition("Commands:")[2]  # every summary fits
    assert eoren() == (0, out, "")


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_the_terminal(eoren, monkeypatch, command, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    status, out, err = eoren(command, "--help")
    assert (status, err) == (0, "")
    assert max(map(len, out.splitlines())) <= columns
    assert "<bool>" not in out
    assert "<str>" not in out.partition("Options:")[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope"], "No such command 'nope'; see eoren --help"),
        (["--nope"], "No such option: --nope; see eoren --help"),
        (["fit"], "Missing argument 'IMAGE'; see eoren fit --help"),
        (["evaluate", "a.eoren"], "Missing argument 'IMAGE'; see eoren evaluate --help"),
        (["render", "a.eoren"], "Missing option '--output' / '-o'; see eoren render --help"),
    ],
)
def test_wrong_commands(refused, arguments, message):
    assert refused(*arguments) == message


def test_interruption_anywhere(eoren, picture, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("eoren.image.io.read_source_image", interrupt)
    assert eoren("fit", picture) == (130, "", "")
    assert not os.path.exists("tiny.eoren")  # noqa: PTH110


def test_termination_ends_in_order(field_file, folder):
    """While an image is drawn that would take an hour."""
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
def test_signals_are_left_as_they_were(eoren, where):
    before = signal.getsignal(signal.SIGTERM)
    if where == "main":
        eoren("--version")
    else:  # where Python allows no change
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
def test_memory_that_lacks_is_said_however_it_is_noticed(refused, picture, monkeypatch, error):
    def lack(*_):
        raise error

    monkeypatch.setattr("eoren.image.io.read_source_image", lack)
    assert refused("fit", picture) == "not enough memory; close other programs, or reduce the size"


def test_faults_of_our_own_are_not_hidden(picture, monkeypatch):
    from eoren.cli import main

    def fault(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr("eoren.image.io.read_source_image", fault)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["fit", str(picture)])
