"""Train one job whose folder is in an object store: `python -m tuneway_service.relay URL ATTEMPT`.

The worker is the usual one, on a folder of this machine. A thread copies what the worker writes to the store, and what
the service asks from it. Each attempt has its own place in the store, so that an abandoned attempt can't disturb a
later one.

Files that refer to others are copied after those: whoever reads the journal, `state.json` or `outcome.json` in the
store finds everything that they refer to.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
import time
import traceback
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneway.errors import InvalidSpec
from tuneway_service import gang, worker
from tuneway_service.folder import JobFolder, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CARRY_SECONDS = 5.0
# how long a finished training waits for a store that can't be reached
LAST_PATIENCE = 600.0
ORDERS = ("job.json", "stop")
INPUTS = ("training.jsonl", "validation.jsonl", "base/")
POINTERS = ("journal.jsonl", "progress.json", "state.json", "outcome.json")
OUTPUTS = ("outcome.json", "progress.json", "lease.json", "model/", "wandb/")
# prepared rows are larger than the rows, which are carried, and quickly made again
OF_ONE_MACHINE = (
    "prepared/", "lock", "ranks.lock", "ranks/", "worker.log", "ray.json", "record.json", "unfinished/",
)  # fmt: skip


class Store:
    """One attempt's place in a store, and which of its files are known to be the same in the local folder.

    Args:
        url: A URL that fsspec knows: `s3://bucket/jobs/ftjob-…/1`, `gs://…`, `file://…`.
    """

    def __init__(self, url: str) -> None:
        try:
            from fsspec.core import url_to_fs

            files, place = url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise InvalidSpec(
                f"can't use {url}: {error}",
                field="ray_jobs_url",
                hint="Install it with: pip install 'tuneway[stores]', and the store's package, such as s3fs",
            ) from None
        self.files: Any = files
        self.place = str(place).rstrip("/")
        self._sent: dict[str, object] = {}
        self._fetched: dict[str, object] = {}

    def at(self, name: str) -> str:
        """A file's path in the store."""
        return f"{self.place}/{name}"

    def listed(self) -> dict[str, object]:
        """The files in the store by name, each with a value that changes when the file does."""
        self.files.invalidate_cache()
        try:
            found = self.files.find(self.place, detail=True)
        except FileNotFoundError:
            return {}
        return {path[len(self.place) + 1 :]: str(info) for path, info in found.items()}

    def read(self, name: str) -> bytes | None:
        """The content of a small file; None if it doesn't exist."""
        try:
            return bytes(self.files.cat_file(self.at(name)))
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Write a small file, or replace it."""
        self._make_room(name)
        self.files.pipe_file(self.at(name), content)

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        with suppress(FileNotFoundError):
            self.files.rm_file(self.at(name))

    def clear(self) -> None:
        """Remove all files."""
        with suppress(FileNotFoundError):
            self.files.rm(self.place, recursive=True)

    def send(self, folder: Path, wanted: Callable[[str], bool]) -> None:
        """Copy what has changed in the folder to the store; pointers last, with the content read before the others."""
        pointers = {
            name: (folder / name).read_bytes() for name in POINTERS if wanted(name) and (folder / name).exists()
        }
        names = {name: stamp for name, stamp in _stamps(folder) if wanted(name) and name not in POINTERS}
        for name, stamp in names.items():
            if self._sent.get(name) != stamp:
                self._upload(folder, name)
                self._sent[name] = stamp
        gone = {name for name in self._sent if wanted(name)} - names.keys() - pointers.keys()
        if "state.json" in pointers and pointers["state.json"] != (folder / "state.json").read_bytes():
            # another state was saved meanwhile: it is copied next time, and until then the old one stays
            del pointers["state.json"]
            gone = {name for name in gone if not name.startswith("state/")}
        for name, content in pointers.items():
            if self._sent.get(name) != content:
                self.write(name, content)
                self._sent[name] = content
        for name in gone:
            self.remove(name)
            del self._sent[name]

    def fetch(self, folder: Path, wanted: Callable[[str], bool]) -> None:
        """Copy what has changed in the store to the folder, in the same order, and remove what the store lost."""
        pointers = {name: self.read(name) for name in POINTERS if wanted(name)}
        listed = {name: sign for name, sign in self.listed().items() if wanted(name) and name not in POINTERS}
        for name, sign in listed.items():
            if self._fetched.get(name) != sign:
                _put(folder / name, partial(self._download, name))
                self._fetched[name] = sign
        for name, content in pointers.items():
            if content is not None and self._fetched.get(name) != content:
                replace(folder / name, content)
                self._fetched[name] = content
        gone = {name for name in self._fetched if wanted(name)} - listed.keys() - pointers.keys()
        # if the store has no files at all, it was cleared: the folder keeps its own
        for name in gone if listed else ():
            (folder / name).unlink(missing_ok=True)
            del self._fetched[name]
            with suppress(OSError):
                (folder / name).parent.rmdir()

    def is_same(self, folder: Path) -> None:
        """Note that files which exist on both sides now are the same, so that none is copied again."""
        here, there = dict(_stamps(folder)), self.listed()
        self._sent |= {name: stamp for name, stamp in here.items() if name in there}
        self._fetched |= {name: sign for name, sign in there.items() if name in here}

    def _upload(self, folder: Path, name: str) -> None:
        self._make_room(name)
        try:
            self.files.put_file(str(folder / name), self.at(name))
        except FileNotFoundError:
            # it was removed or replaced meanwhile: the new one is copied next time
            if (folder / name).exists():
                raise

    def _download(self, name: str, place: Path) -> None:
        self.files.get_file(self.at(name), str(place))

    def _make_room(self, name: str) -> None:
        # object stores have no folders, but other file systems need them
        self.files.makedirs(self.at(name).rpartition("/")[0], exist_ok=True)


def _stamps(folder: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """The files in a folder by name, each with a value that changes when the file does."""
    for path in sorted(folder.rglob("*")):
        with suppress(FileNotFoundError):  # the worker removed it meanwhile
            if path.is_file() and not path.name.startswith("."):
                stat = path.stat()
                yield path.relative_to(folder).as_posix(), (stat.st_mtime_ns, stat.st_size)


def _put(place: Path, download: Callable[[Path], object]) -> None:
    """Download a file to its place, complete or not at all."""
    place.parent.mkdir(parents=True, exist_ok=True)
    unfinished = place.with_name(f".{place.name}.part")
    download(unfinished)
    unfinished.replace(place)


def is_of(name: str, kinds: tuple[str, ...]) -> bool:
    """Whether a file is one of these, or in one of these folders."""
    return any(name == kind or (kind.endswith("/") and name.startswith(kind)) for kind in kinds)


def from_service(name: str) -> bool:
    """Whether the service sends this file to the worker: not the order, which is sent last, and no results."""
    return not is_of(name, (*ORDERS, *OUTPUTS, *OF_ONE_MACHINE))


def from_worker(name: str) -> bool:
    """Whether the worker sends this file to the service."""
    return not is_of(name, (*ORDERS, *INPUTS, *OF_ONE_MACHINE))


class Carrier:
    """The thread that copies files while the worker trains."""

    def __init__(self, store: Store, folder: JobFolder) -> None:
        self.store = store
        self.folder = folder
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="carrier", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(CARRY_SECONDS):
            try:
                self.exchange()
            except Exception:  # noqa: BLE001 - each store raises its own errors; the training goes on meanwhile
                traceback.print_exc()

    def exchange(self) -> None:
        """Copy once, in both directions."""
        if self.store.read("stop") is not None:
            self.folder.ask_to_stop()
        if self.store.read("job.json") is None:
            self.folder.withdraw()
        elif self.folder.path.exists():
            self.store.send(self.folder.path, from_worker)


def main(arguments: list[str]) -> int:
    """Fetch the folder, train, and send the results back."""
    url, attempt = arguments[0], arguments[1]
    store = Store(url)
    scratch = Path(tempfile.mkdtemp(prefix="tuneway-"))
    try:
        folder = JobFolder(scratch / url.rstrip("/").split("/")[-2])
        folder.path.mkdir()
        order = store.read("job.json")
        if order is None:
            return worker.TAKEN
        store.fetch(folder.path, lambda name: not is_of(name, (*ORDERS, *OF_ONE_MACHINE)))
        store.is_same(folder.path)
        replace(folder.path / "job.json", order)
        carrier = Carrier(store, folder)
        with carrier:
            code = gang.main([str(folder.path), attempt])
        _send_results(carrier)
        return code
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _send_results(carrier: Carrier) -> None:
    give_up = time.monotonic() + LAST_PATIENCE
    while True:
        try:
            carrier.exchange()
        except Exception:
            if time.monotonic() > give_up:
                raise
            traceback.print_exc()
            time.sleep(CARRY_SECONDS)
        else:
            return


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main(sys.argv[1:]))
