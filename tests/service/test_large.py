"""Large files: memory stays flat, on the way in, in the looking at, and on the way out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.service import RunningService, running_service, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ENDED = ("succeeded", "failed", "cancelled")
MIB = 2**20
LINE = json.dumps({"messages": [{"role": "user", "content": "x" * 960}, {"role": "assistant", "content": "yes"}]})
BLOCK = (LINE.encode() + b"\n") * 1000


def peak_mib(service: RunningService) -> float:
    """The most memory that the service's own process has held."""
    status = Path(f"/proc/{service.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def blocks(total: int):
    """JSONL of about that many bytes."""
    return [BLOCK] * (total // len(BLOCK))


def part_of(content: list[bytes]) -> Iterator[bytes]:
    """A multipart body that is sent block by block."""
    head = b'--b\r\ncontent-disposition: form-data; name="data"; filename="part"\r\n\r\n'

    yield head
    yield from content
    yield b"\r\n--b--\r\n"


def test_600_mb_in_parts_leave_memory_flat():
    content = blocks(600 * MIB)
    size = sum(map(len, content))
    digest = hashlib.md5()
    for block in content:
        digest.update(block)
    with running_service() as service, httpx.Client(base_url=service.base_url, timeout=300) as client:
        before = peak_mib(service)
        announced = {"bytes": size, "filename": "big.jsonl", "mime_type": "text/jsonl", "purpose": "fine-tune"}
        upload = client.post("/uploads", json=announced).raise_for_status().json()
        ids, step = [], 60 * MIB // len(BLOCK)
        for start in range(0, len(content), step):
            reply = client.post(
                f"/uploads/{upload['id']}/parts",
                content=part_of(content[start : start + step]),
                headers={"content-type": "multipart/form-data; boundary=b"},
            )
            ids.append(reply.raise_for_status().json()["id"])
        done = client.post(f"/uploads/{upload['id']}/complete", json={"part_ids": ids, "md5": digest.hexdigest()})
        file = done.raise_for_status().json()["file"]
        assert file["bytes"] == size
        received = hashlib.md5()
        with client.stream("GET", f"/files/{file['id']}/content") as reply:
            for chunk in reply.iter_bytes():
                received.update(chunk)
        assert received.hexdigest() == digest.hexdigest()
        assert list((service.data_dir / "uploads").iterdir()) == []
        assert peak_mib(service) - before < 30


def test_one_large_file_leaves_memory_flat_and_others_are_served_meanwhile():
    content = blocks(400 * MIB)
    with running_service() as service, httpx.Client(base_url=service.base_url, timeout=300) as client:
        before = peak_mib(service)
        slowest = 0.0
        with httpx.Client(base_url=service.base_url, timeout=30) as other:

            def body():
                nonlocal slowest
                yield b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
                yield b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
                for number, block in enumerate(content):
                    yield block
                    if number % 20 == 0:
                        slowest = max(slowest, other.get("/files").elapsed.total_seconds())
                yield b"\r\n--b--\r\n"

            reply = client.post("/files", content=body(), headers={"content-type": "multipart/form-data; boundary=b"})
        assert reply.raise_for_status().json()["bytes"] == sum(map(len, content))
        assert peak_mib(service) - before < 30
        assert slowest < 5


def test_a_file_over_the_limit_is_cut_off_even_when_its_length_is_not_announced():
    with running_service() as service, httpx.Client(base_url=service.base_url, timeout=300) as client:
        upload = client.post(
            "/uploads", json={"bytes": 10, "filename": "a.jsonl", "mime_type": "x", "purpose": "fine-tune"}
        ).json()
        try:
            reply = client.post(
                f"/uploads/{upload['id']}/parts",
                content=part_of(blocks(80 * MIB)),
                headers={"content-type": "multipart/form-data; boundary=b"},
            )
            assert reply.status_code == 413
        except httpx.WriteError:
            pass  # the service hung up while we were still sending
        assert list((service.data_dir / "scratch").iterdir()) == []


def test_an_example_with_as_large_images_as_are_allowed_is_trained_on():
    images = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * (9 * MIB * 4 // 3 // 4 * 4)}}
        for _ in range(4)
    ]
    rich = [
        {"role": "user", "content": [{"type": "text", "text": "which?"}, *images]},
        {"role": "assistant", "content": "b"},
    ]
    rows = [{"messages": rich}, *([json.loads(LINE)] * 12)]
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    with running_service() as service, httpx.Client(base_url=service.base_url, timeout=120) as client:
        file = client.post("/files", files={"file": ("a.jsonl", data)}, data={"purpose": "fine-tune"}).json()
        job = client.post("/fine_tuning/jobs", json={"model": "gpt-4o-mini", "training_file": file["id"]}).json()
        ended = until(
            lambda: (now := client.get(f"/fine_tuning/jobs/{job['id']}").json())["status"] in ENDED and now, seconds=120
        )
        assert ended["status"] == "succeeded", ended["error"]
