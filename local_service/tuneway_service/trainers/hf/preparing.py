"""Prepares the rows of a job: once, into the job's folder, in as many processes as this one may use.

A process that prepares is `python -m tuneway_service.trainers.hf.preparing`. It gets the tokenizer and one chunk of
lines after another by its standard input, writes a part for each, and answers on its standard output. It ends when its
input does, so also when the worker is killed.
"""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import tokenizers
import transformers

from tuneway.errors import InvalidInput
from tuneway_service.folder import replace, try_lock
from tuneway_service.trainers.base import Remark
from tuneway_service.trainers.hf.batches import Batches
from tuneway_service.trainers.hf.prepared import Cut, PreparedRows, RowsPart, key_of
from tuneway_service.trainers.hf.tokens import VERSION, Encoder
from tuneway_service.trainers.rows import LineChunk, chunks_of, lines_of, on_line, read_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tuneway_service.trainers.hf.reading import RowReading

CHUNK_BYTES = 1 << 20
ALONE_BYTES = 8 << 20
"""Files up to this size are prepared by this process: others take seconds to start."""
BATCH = 64
"""How many rows are tokenised by one call."""
TELL_SECONDS = 30.0
LOOK_SECONDS = 0.2
TOLD = "told.json"
"""The last words of a process that prepares, for those that wait for it."""
COMMAND = (sys.executable, "-m", "tuneway_service.trainers.hf.preparing")


def usable_processors() -> int:
    """How many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


@dataclass
class Preparer:
    """Prepares rows for one model, or finds them prepared.

    Args:
        encoder: Makes the tokens.
        folder: Where prepared rows are kept; None keeps nothing.
        tell: Takes remarks about the progress.
        processes: How many processes may prepare.
        clock: The current time in seconds.
    """

    encoder: Encoder
    folder: Path | None = None
    tell: Callable[[Remark], None] = lambda _: None
    processes: int = field(default_factory=usable_processors)
    clock: Callable[[], float] = time.monotonic
    _passed_on: Remark | None = None

    def prepared(self, path: Path, reading: RowReading) -> PreparedRows:
        """The rows of a file as examples.

        Raises:
            InvalidInput: A row can't be learned; the error has its line.
        """
        chunks, sha256 = chunks_of(path, CHUNK_BYTES)
        key = key_of([self._made_by, sha256, vars(reading)])
        task = Task(self, path, reading, chunks, key, sha256)
        if self.folder is None:
            with tempfile.TemporaryDirectory(prefix="tuneway-rows-") as name:
                # the files stay mapped when they have no name any more
                return task.done(Path(name))
        self.folder.mkdir(mode=0o700, exist_ok=True)
        with _locked(self.folder / "lock", self._pass_on):
            return self._found(task, f"{path.stem}-")

    def _pass_on(self) -> None:
        """Tell what another process, which this one waits for, tells: of a gang only one process is heard."""
        assert self.folder is not None
        with suppress(OSError, ValueError, TypeError):
            remark = Remark(**json.loads((self.folder / TOLD).read_bytes()))
            if remark != self._passed_on:
                self._passed_on = remark
                self.tell(remark)

    def _found(self, task: Task, prefix: str) -> PreparedRows:
        """What is there, or else a new folder in place of older ones."""
        assert self.folder is not None
        place = self.folder / f"{prefix}{task.key[:32]}"
        with suppress(OSError, ValueError, LookupError, TypeError):
            return PreparedRows(place, task.key)
        for other in self.folder.glob(f"{prefix}*"):
            shutil.rmtree(other, ignore_errors=True)
        unfinished = Path(tempfile.mkdtemp(prefix=prefix, suffix=".part", dir=self.folder))
        try:
            task.done(unfinished)
            unfinished.rename(place)
        except OSError as error:
            # on file systems without locks another process may have been faster
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
            (self.folder / TOLD).unlink(missing_ok=True)
        return PreparedRows(place, task.key)

    @cached_property
    def _made_by(self) -> list[Any]:
        """Everything that the tokens of a row depend on, but the row and how it is read."""
        tokenizer: Any = self.encoder.tokenizer
        self.encoder.segments.whole("")  # sets the tokenizer up as it is when it is used
        words = tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else sorted(tokenizer.get_vocab().items())
        special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
        versions = [VERSION, transformers.__version__, tokenizers.__version__]
        model = [type(tokenizer).__name__, words, special, tokenizer.chat_template, sorted(self.encoder.stops)]
        return [*versions, key_of(model), self.encoder.context_length]


@dataclass
class Task:
    """One file to prepare, for a preparer."""

    preparer: Preparer
    path: Path
    reading: RowReading
    chunks: Sequence[LineChunk]
    key: str
    sha256: str

    def done(self, folder: Path) -> PreparedRows:
        """Prepare into this folder."""
        progress = PreparingNews(self.path.name, sum(chunk.rows for chunk in self.chunks), self.preparer)
        processes = min(self.preparer.processes, len(self.chunks))
        large = bool(self.chunks) and self.chunks[-1].end > ALONE_BYTES
        with RowsPart(folder) as part:
            if processes == 1 or not large or not self._in_processes(part, processes, progress):
                for chunk in self.chunks:
                    self._alone(part, chunk)
                    progress.add(chunk.rows)
            part.finish(self.key, self.sha256)
        return PreparedRows(folder, self.key)

    def _in_processes(self, whole: RowsPart, count: int, progress: PreparingNews) -> bool:
        """Prepare in other processes; False if the tokenizer can't be sent to them."""
        encoder = self.preparer.encoder
        try:
            setup = pickle.dumps((encoder.tokenizer, encoder.stops, encoder.context_length, self.path, self.reading))
        except (pickle.PicklingError, TypeError, AttributeError):
            return False
        team = Team(setup, self.chunks, whole.folder)
        with team.working(count):
            for number, chunk in enumerate(self.chunks):
                cut = team.result(number)
                if cut is None:
                    self._alone(whole, chunk)
                else:
                    whole.add_part(team.place(number), cut)
                shutil.rmtree(team.place(number), ignore_errors=True)
                progress.add(chunk.rows)
        return True

    def _alone(self, whole: RowsPart, chunk: LineChunk) -> None:
        read_chunk(self.path, chunk, self.reading, self._batches, whole)

    @cached_property
    def _batches(self) -> Batches:
        return Batches(self.preparer.encoder)


class PreparingNews:
    """Tells how many rows are prepared, every half a minute."""

    def __init__(self, name: str, total: int, preparer: Preparer) -> None:
        self._name = name
        self._total = total
        self._preparer = preparer
        self._done = 0
        self._told = preparer.clock()

    def add(self, rows: int) -> None:
        """So many rows more are prepared."""
        self._done += rows
        now = self._preparer.clock()
        if now - self._told >= TELL_SECONDS:
            self._told = now
            text = f"Prepared {self._done:,} of {self._total:,} rows of {self._name}"
            remark = Remark(text, mark=f"prepared:{self._name}:{self._done}", level="info")
            self._preparer.tell(remark)
            if self._preparer.folder is not None:
                replace(self._preparer.folder / TOLD, json.dumps(vars(remark)).encode())


def read_chunk(path: Path, chunk: LineChunk, reading: RowReading, batches: Batches, part: RowsPart) -> None:
    """Add the rows of a chunk to a part. Raises `InvalidInput` for the first line that is wrong."""
    lines = lines_of(path, chunk)
    while some := list(islice(lines, BATCH)):
        rows = []
        broken = None
        for _, number, line in some:
            try:
                rows.append(read_line(line, number))
            except InvalidInput as error:
                broken = error  # after the errors of the lines before it
                break
        for (start, number, _), made in zip(some, reading.read(batches, rows), strict=False):
            if isinstance(made, InvalidInput):
                raise on_line(number, made)
            part.add(number, start, made, reading.kept(made))
        if broken is not None:
            raise broken


class Team:
    """Processes that prepare chunks, each led by a thread here that hands them out."""

    def __init__(self, setup: bytes, chunks: Sequence[LineChunk], folder: Path) -> None:
        self._setup = setup
        self._folder = folder
        self._next: Iterator[tuple[int, LineChunk]] = iter(enumerate(chunks))
        self._results: dict[int, Cut | Exception | None] = {}
        self._changed = threading.Condition()
        # how many chunks may be begun: parts that wait to be taken take up space a second time
        self._ahead = threading.Semaphore(0)
        self._leading = 0

    def place(self, number: int) -> Path:
        """Where the part of a chunk is written."""
        return self._folder / f"part-{number}"

    def result(self, number: int) -> Cut | None:
        """Wait for a chunk's part; None if its process was lost. Raises the error that a row has."""
        with self._changed:
            self._changed.wait_for(lambda: number in self._results or not self._leading)
            found = self._results.pop(number, None)
        self._ahead.release()
        if isinstance(found, Exception):
            raise found
        return found

    @contextmanager
    def working(self, count: int) -> Iterator[None]:
        """Let this many processes work until the block ends."""
        self._ahead.release(4 * count)
        self._leading = count
        threads = [threading.Thread(target=self._lead, name=f"rows-{number}", daemon=True) for number in range(count)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._next = iter(())
            self._ahead.release(count)
            for thread in threads:
                thread.join()

    def _lead(self) -> None:
        try:
            with _process() as child:
                self._hand_out(child.stdin, child.stdout)
        except OSError:
            traceback.print_exc()  # the process was lost, or there is none
        finally:
            with self._changed:
                self._leading -= 1
                self._changed.notify_all()

    def _hand_out(self, tasks: Any, answers: Any) -> None:
        tasks.write(self._setup)
        while True:
            self._ahead.acquire()
            with self._changed:
                number, chunk = next(self._next, (None, None))
            if number is None:
                return
            result: Cut | Exception | None = None
            try:
                pickle.dump((chunk, self.place(number)), tasks)
                tasks.flush()
                result = _answer(answers.readline())
            finally:
                with self._changed:
                    self._results[number] = result
                    self._changed.notify_all()
            if result is None:
                return


@contextmanager
def _process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:  # noqa: S603 - our own
        try:
            yield child
        finally:
            with suppress(OSError):  # it is gone already
                cast("IO[bytes]", child.stdin).close()


def _answer(line: bytes) -> Cut | Exception | None:
    if not line:
        return None
    told = json.loads(line)
    if "cut" in told:
        return Cut(**told["cut"])
    if "errno" in told:
        return OSError(told["errno"], told["message"])
    return InvalidInput(told["message"], hint=told["hint"])


def main() -> None:
    """Prepare chunks until the input ends."""
    # whatever a library prints must not be taken for an answer
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    tokenizer, stops, context_length, path, reading = pickle.load(sys.stdin.buffer)  # noqa: S301 - of our own worker
    batches = Batches(Encoder(tokenizer, stops, context_length))
    while True:
        try:
            chunk, place = pickle.load(sys.stdin.buffer)  # noqa: S301
        except EOFError:
            return
        print(json.dumps(_prepared(path, chunk, reading, batches, place)), file=answers, flush=True)


def _prepared(path: Path, chunk: LineChunk, reading: RowReading, batches: Batches, place: Path) -> dict[str, Any]:
    try:
        with RowsPart(place) as part:
            read_chunk(path, chunk, reading, batches, part)
    except InvalidInput as error:
        return {"message": error.message, "hint": error.hint}
    except OSError as error:
        return {"message": error.strerror, "errno": error.errno}
    return {"cut": vars(part.cut)}


@contextmanager
def _locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold a lock, so that of several processes one prepares; the others wait, and call `waiting` meanwhile."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not try_lock(lock):
            waiting()
            time.sleep(LOOK_SECONDS)
        yield
    finally:
        os.close(lock)


if __name__ == "__main__":
    os.umask(0o077)
    main()
