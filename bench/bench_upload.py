"""Uploading 256 MB: memory, speed and the event loop's patience, beside bare httpx and the openai client.

Speed is measured against the local service, which parses the form and writes the file as any service must;
memory and stalls against a sink that swallows bytes faster than any network brings them. There the hash,
which is taken before anything is sent, weighs most: that ratio is printed too, without a target.

Every measurement runs in a process of its own, takes its base memory after a first small upload, and says
how much more the large one took. Speeds are medians of runs in turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path

from _figures import figure
from _sink import sink

SIZE = 256 * 1024 * 1024
LINE = b'{"messages":[{"role":"user","content":"' + b"x" * 940 + b'"},{"role":"assistant","content":"y"}]}\n'
ROUNDS = 5
BARE_CHUNK = 64 * 1024  # httpx's own chunk for files


def write_data(path: Path, size: int) -> None:
    """A file of chat rows, unlike any other."""
    with path.open("wb") as file:
        file.write(LINE.replace(b"x" * 32, uuid.uuid4().hex.encode(), 1))
        for _ in range(size // len(LINE) // 1024 + 1):
            file.write(LINE * 1024)


def ours_sync(url: str) -> Callable[[Path], object]:
    from tuneway import Client

    client = Client(base_url=url)
    return lambda path: client.upload(path, validate=False)


def bare_sync(url: str) -> Callable[[Path], object]:
    import httpx

    client = httpx.Client(timeout=600, trust_env=False)

    def post(path: Path) -> object:
        with path.open("rb") as file:
            reply = client.post(f"{url}/files", files={"file": file}, data={"purpose": "fine-tune"})
            return reply.raise_for_status()

    return post


def ours_async(url: str) -> Callable[[Path], Awaitable[object]]:
    from tuneway import AsyncClient

    client = AsyncClient(base_url=url)
    return lambda path: client.upload(path, validate=False)


def bare_async(url: str) -> Callable[[Path], Awaitable[object]]:
    import httpx

    client = httpx.AsyncClient(timeout=600, trust_env=False)

    async def post(path: Path) -> object:
        """Httpx's async client streams no forms from files, so the form is put together by hand."""
        head = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n--b\r\n'
        head += b'Content-Disposition: form-data; name="file"; filename="large.jsonl"\r\n\r\n'
        tail = b"\r\n--b--\r\n"

        async def form() -> AsyncIterator[bytes]:
            yield head
            with path.open("rb") as file:
                while chunk := file.read(BARE_CHUNK):
                    yield chunk
            yield tail

        length = str(len(head) + path.stat().st_size + len(tail))  # noqa: ASYNC240 - one stat
        headers = {"content-length": length, "content-type": "multipart/form-data; boundary=b"}
        return (await client.post(f"{url}/files", content=form(), headers=headers)).raise_for_status()

    return post


def openai_async(url: str) -> Callable[[Path], Awaitable[object]]:
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=url, api_key="none", timeout=600, max_retries=0)
    return lambda path: client.files.create(file=path, purpose="fine-tune")


@contextlib.contextmanager
def service(data_dir: Path) -> Iterator[str]:
    """Run the local service; gives its base URL."""
    command = [sys.executable, "-m", "tuneway_service", "--port", "0", "--data-dir", str(data_dir)]
    process = subprocess.Popen([*command, "--log-level", "error"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


CONTENDERS = {f.__name__: f for f in (ours_sync, bare_sync, ours_async, bare_async, openai_async)}


def memory() -> float:
    """The most memory this process ever had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def with_stall(upload: Awaitable[object]) -> float:
    """Run an upload, and give the longest time that the loop didn't come round."""
    worst, done = 0.0, False

    async def tick() -> None:
        nonlocal worst
        while not done:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            worst = max(worst, time.perf_counter() - before - 0.001)

    ticker = asyncio.create_task(tick())
    await asyncio.sleep(0.01)
    worst = 0.0
    await upload
    done = True
    await ticker
    return worst


def measure(name: str, url: str, small: Path, large: Path) -> dict[str, float]:
    """In a fresh process: warm up, then upload the large file once."""

    async def run_async() -> tuple[float, float, float]:
        upload = CONTENDERS[name](url)
        await upload(small)  # type: ignore[misc]
        base, started = memory(), time.perf_counter()
        stall = await with_stall(upload(large))  # type: ignore[arg-type]
        return base, time.perf_counter() - started, stall

    if name.endswith("async"):
        base, seconds, stall = asyncio.run(run_async())
    else:
        upload = CONTENDERS[name](url)
        upload(small)
        base, started, stall = memory(), time.perf_counter(), 0.0
        upload(large)
        seconds = time.perf_counter() - started
    return {"seconds": seconds, "extra_mib": memory() - base, "stall": stall}


def in_process(name: str, url: str, small: Path, large: Path) -> dict[str, float]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, name, url, str(small), str(large)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return dict(json.loads(out.splitlines()[-1]))


def medians(url: str, names: Sequence[str], rounds: int, folder: str) -> dict[str, dict[str, float]]:
    """Each contender's medians over runs in turns. Every run sends new data: ours sends nothing twice."""
    runs: list[dict[str, dict[str, float]]] = []
    for _ in range(rounds):
        run = {}
        for name in names:
            small, large = Path(folder, "small.jsonl"), Path(folder, "large.jsonl")
            write_data(small, 100_000)
            write_data(large, SIZE)
            run[name] = in_process(name, url, small, large)
        runs.append(run)
    return {name: {key: statistics.median(run[name][key] for run in runs) for key in runs[0][name]} for name in names}


def main() -> None:
    """Print the figures."""
    speed = ("ours_sync", "bare_sync", "ours_async", "bare_async")
    with tempfile.TemporaryDirectory() as folder:
        with sink() as url:
            swallowed = medians(url, tuple(CONTENDERS), 3, folder)
        with service(Path(folder, "service")) as url:
            served = medians(url, speed, ROUNDS, folder)
    for kind in ("sync", "async"):
        extra = swallowed[f"ours_{kind}"]["extra_mib"]
        figure(f"upload of 256 MB, {kind}: memory over the base", ours=extra, peer=None, unit="MiB", at_most=8)
        name = f"upload of 256 MB, {kind}: speed beside a bare httpx streaming POST, hash included"
        for where, medianed, target in (
            ("local service", served, 0.9),
            ("sink without a network's limits", swallowed, None),
        ):
            rates = [256 / medianed[f"{who}_{kind}"]["seconds"] for who in ("ours", "bare")]
            figure(f"{name} ({where})", ours=rates[0], peer=rates[1], unit="MiB/s", at_least=target)
    ours, peer = swallowed["ours_async"], swallowed["openai_async"]
    figure(
        "upload of 256 MB, async: memory beside the openai client given a path",
        ours=ours["extra_mib"],
        peer=peer["extra_mib"],
        unit="MiB",
        at_most=0.1,
    )
    figure("upload of 256 MB, async: longest stall of the loop", ours=ours["stall"], peer=None, unit="s", at_most=0.01)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))))
    else:
        main()
