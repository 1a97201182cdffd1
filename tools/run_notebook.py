"""Run notebooks and keep their outputs in them.

    python -m tools.run_notebook examples/field.ipynb

What the notebooks write goes to a temporary folder.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", type=Path, nargs="+")
    for path in parser.parse_args().notebooks:
        notebook = nbformat.read(path, as_version=4)
        with TemporaryDirectory() as folder:
            client = NotebookClient(
                notebook,
                timeout=600,
                resources={"metadata": {"path": folder}},
                store_widget_state=False,  # as large as the image of the whole, which is an output already
                record_timing=False,
                coalesce_streams=True,
            )
            client.execute()
        for cell in notebook.cells:
            for output in cell.get("outputs", []):
                data = output.get("data", {})
                if "text/html" in data:
                    data.pop("image/png", None)  # the same again, for programs without HTML
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
