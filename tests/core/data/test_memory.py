"""Memory stays constant, wherever the rows come from; and nothing of them stays on the disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

MEBIBYTE = 2**20


def peak(code: str, **variables: str) -> int:
    """The most memory, in bytes, that a process had after it ran the code's first part."""
    program = f"""
        import resource, sys
        from pathlib import Path
        from tuneway.dataset import validate

        def used():
            status = Path("/proc/self/status")
            if status.exists():  # what getrusage says includes the process that started this one
                return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

        def rows(number):
            text = "x" * 200
            return ({{"prompt": f"{{one}} {{text}}", "completion": f"{{one}}"}} for one in range(number))

        {textwrap.indent(textwrap.dedent(code), " " * 8).strip()}
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | variables,
        timeout=600,
    )
    return int(done.stdout.split()[-1])  # DuckDB may print its progress before


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("options", ["", ", order='content'", ", validation_data=0.1"])
def test_rows_of_a_generator_take_constant_memory(tmp_path, options):
    code = f"""
        validate(rows(3000){options}, tokenizer="estimate")
        base = used()
        assert validate(rows(1_200_000){options}, tokenizer="estimate").size_bytes > 180 * 2**20
        print(used() - base)
    """
    assert peak(code, TMPDIR=str(tmp_path)) <= 48 * MEBIBYTE
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_lazy_frame_takes_constant_memory(tmp_path):
    polars = pytest.importorskip("polars")
    path = tmp_path / "rows.parquet"
    frame = polars.DataFrame({"prompt": [f"{one} {'x' * 200}" for one in range(600_000)], "completion": "yes"})
    frame.write_parquet(path, row_group_size=10_000)
    code = f"""
        import polars
        validate(polars.scan_parquet({str(path)!r}).head(20_000), tokenizer="estimate")
        base = used()
        assert validate(polars.scan_parquet({str(path)!r}), tokenizer="estimate").size_bytes > 120 * 2**20
        print(used() - base)
    """
    assert peak(code) <= 48 * MEBIBYTE


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_file_that_is_one_group_of_rows_takes_constant_memory(tmp_path):
    pytest.importorskip("pyarrow")
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"prompt": [f"{one} {'x' * 2000}" for one in range(80_000)], "completion": "yes"})
    for name, part in (("few", frame.head(6000)), ("many", frame)):
        part.write_parquet(tmp_path / f"{name}.parquet", row_group_size=100_000, compression="uncompressed")
    code = f"""
        validate({str(tmp_path / "few.parquet")!r}, tokenizer="estimate")
        base = used()
        assert validate({str(tmp_path / "many.parquet")!r}, tokenizer="estimate").size_bytes > 150 * 2**20
        print(used() - base)
    """
    assert peak(code) <= 48 * MEBIBYTE


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_file_of_arrow_that_is_one_batch_takes_constant_memory(tmp_path):
    pytest.importorskip("pyarrow")
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"prompt": [f"{one} {'x' * 2000}" for one in range(80_000)], "completion": "yes"})
    for name, part in (("few", frame.head(6000)), ("many", frame)):
        part.rechunk().write_ipc(tmp_path / f"{name}.arrow", record_batch_size=100_000)
    code = f"""
        validate({str(tmp_path / "few.arrow")!r}, tokenizer="estimate")
        base = used()
        assert validate({str(tmp_path / "many.arrow")!r}, tokenizer="estimate").size_bytes > 150 * 2**20
        print(used() - base)
    """
    assert peak(code, TMPDIR=str(tmp_path)) <= 48 * MEBIBYTE
    assert {path.name for path in tmp_path.iterdir()} == {"few.arrow", "many.arrow"}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_query_of_duckdb_takes_constant_memory():
    pytest.importorskip("pyarrow")
    pytest.importorskip("duckdb")
    code = """
        import duckdb

        def query(rows):
            return duckdb.sql(f"SELECT i || repeat('x', 700) AS prompt, 'yes' AS completion FROM range({rows}) t(i)")

        validate(query(9000), tokenizer="estimate")
        base = used()
        assert validate(query(300_000), tokenizer="estimate").size_bytes > 200 * 2**20
        print(used() - base)
    """
    assert peak(code) <= 48 * MEBIBYTE


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_data_set_of_arrow_takes_constant_memory(tmp_path):
    pytest.importorskip("pyarrow.dataset")
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"prompt": [f"{one} {'x' * 700}" for one in range(300_000)], "completion": "yes"})
    for name, part in (("few", frame.head(6000)), ("many", frame)):
        part.write_parquet(tmp_path / f"{name}.parquet", row_group_size=5000)
    code = f"""
        from pyarrow.dataset import dataset

        validate(dataset({str(tmp_path / "few.parquet")!r}), tokenizer="estimate")
        base = used()
        assert validate(dataset({str(tmp_path / "many.parquet")!r}), tokenizer="estimate").size_bytes > 200 * 2**20
        print(used() - base)
    """
    assert peak(code) <= 48 * MEBIBYTE


@pytest.mark.slow
def test_a_killed_check_leaves_no_row_behind(tmp_path):
    program = """
        import sys
        from tuneway.dataset import validate

        def rows():
            for one in range(40_000):
                yield {"prompt": f"{one} " + "x" * 100, "completion": "y"}
            print("read", flush=True)
            sys.stdin.read()

        validate(rows(), order=sys.argv[1])
    """
    for order in ("given", "content"):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program), order],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"TMPDIR": str(tmp_path)},
        )
        assert process.stdout.readline() == b"read\n"
        held = [name.readlink() for name in Path(f"/proc/{process.pid}/fd").iterdir()]
        assert any(str(one).startswith(str(tmp_path)) for one in held), (
            "the rows were on disk, in a file without a name"
        )
        process.send_signal(signal.SIGKILL)
        process.communicate()

        assert list(tmp_path.iterdir()) == []
