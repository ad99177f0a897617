"""The page for people: what it shows, what it can't be made to show, and a real browser's view of it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from support.openai_jobs import chats, openai_for, slow_job, submit, wait_for
from support.pictures import pixels
from support.service import running_service

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr",
)  # fmt: skip
BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
NASTY = "<script>alert(1)</script>\"'>&"


@pytest.fixture(scope="module")
def site(service):
    root = service.base_url.removesuffix("/v1")
    with httpx.Client(base_url=root, headers=BROWSER, follow_redirects=True) as made:
        yield made


@pytest.fixture(scope="module")
def done(client, training_file):
    held_out = client.files.create(file=("valid.jsonl", chats(12, start=500)), purpose="fine-tune")
    job = submit(client, training_file, validation_file=held_out.id, suffix="routing", metadata={"pipeline": "nightly"})
    return wait_for(client, job.id)


def test_the_first_page_lists_jobs_with_their_state(site, done, service):
    text = site.get("/").text
    assert f'href="/jobs/{done.id}"' in text
    assert "succeeded" in text
    assert service.base_url in text
    assert "gpt-4o-mini (trained by bytes)" in text


def test_a_job_has_its_curves_checkpoints_events_and_settings(site, done):
    text = site.get(f"/jobs/{done.id}").text
    assert text.count("<svg") == 2
    assert "Loss by training step" in text
    assert f"{done.fine_tuned_model}:ckpt-step-" in text
    assert "The job has successfully completed" in text
    assert "nightly" in text
    assert f'href="/v1/files/{done.result_files[0]}/content"' in text
    assert "live.js" not in text  # it has ended: nothing more to look for


def test_a_model_can_be_asked_and_its_base_answers_beside_it(site, done):
    form = {"question": "Ticket 5: there is trouble with my router.", "model": done.fine_tuned_model}
    text = site.post(f"/jobs/{done.id}/ask", data=form).text
    said = re.findall(r'class="said">([^<]*)<', text)
    assert said[0] == "network"
    assert len(said) == 2
    assert said[1] != "network"
    assert "Ticket 5: there is trouble with my router." in text


def test_a_job_is_steered_from_its_page(site, client):
    job = wait_for(client, slow_job(client).id, "running")
    page = f"/jobs/{job.id}"
    assert "live.js" in site.get(page).text
    assert f'action="{page}/pause"' in site.get(page).text
    site.post(f"{page}/pause")
    wait_for(client, job.id, "paused")
    assert f'action="{page}/resume"' in site.get(page).text
    assert f'action="{page}/pause"' not in site.get(page).text
    site.post(f"{page}/resume")
    assert "cancelled" in site.post(f"{page}/cancel").text
    assert site.post(f"{page}/cancel").status_code == 400
    assert site.post(f"{page}/destroy").status_code == 404


def test_nothing_that_a_client_sends_becomes_markup(site, client, training_file):
    file = client.files.create(file=(f"{NASTY}.jsonl", chats(12)), purpose="fine-tune")
    job = wait_for(client, submit(client, file.id, suffix=NASTY, metadata={NASTY: NASTY}).id)
    for path in ("/", "/files", "/models", f"/jobs/{job.id}", "/jobs/" + quote(NASTY.replace("/", ""))):
        text = site.get(path).text
        assert "<script>alert" not in text
        assert "'>&" not in text
    text = site.post(f"/jobs/{job.id}/ask", data={"question": NASTY, "model": NASTY}).text
    assert "<script>alert" not in text


def test_pages_load_nothing_from_elsewhere_and_run_only_our_script(site, done):
    for path in ("/", "/files", "/models", f"/jobs/{done.id}", "/login"):
        reply = site.get(path)
        assert reply.status_code == 200
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert not re.search(r"(src|href)=\"(https?:)?//", reply.text)
        assert not re.search(r"<script(?! src=\"/live.js\")", reply.text)


def test_what_isnt_there_says_so(site):
    reply = site.get("/jobs/ftjob-nobody")
    assert reply.status_code == 404
    assert "No such" in reply.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/files"),
        ("GET", "/models"),
        ("POST", "/files"),
        ("POST", "/fine_tuning/jobs"),
        ("GET", "/files/file-1"),
    ],
)
@pytest.mark.parametrize("accept", ["application/json", "*/*"])
def test_a_program_whose_base_url_lacks_v1_is_told_so_and_gets_no_page(service, method, path, accept):
    root = service.base_url.removesuffix("/v1")
    reply = httpx.request(method, root + path, headers={"accept": accept})
    assert reply.status_code == 404
    fault = reply.json()["error"]
    assert fault["code"] == "unknown_url"
    assert "is /v1 missing from the base URL?" in fault["message"]


def test_a_form_with_too_many_fields_is_refused(site):
    reply = site.post("/login", data={f"field{number}": "x" for number in range(20)})
    assert reply.status_code == 400


def test_lists_go_on_on_further_pages(site, client, monkeypatch):
    ids = {client.files.create(file=("a.txt", b"x"), purpose="user_data").id for _ in range(55)}
    seen: set[str] = set()
    path: str | None = "/files"
    while path:
        text = site.get(path).text
        seen |= set(re.findall(r"/v1/files/(file-\w+)/content", text))
        older = re.search(r'href="(/files\?after=[^"]+)"', text)
        path = older and older[1]
    assert ids <= seen


def test_with_a_token_the_page_asks_for_it_once():
    with running_service(token="open-sesame") as service:
        root = service.base_url.removesuffix("/v1")
        with httpx.Client(base_url=root, headers=BROWSER, follow_redirects=True) as site:
            assert 'type="password"' in site.get("/").text
            wrong = site.post("/login", data={"token": "open-barley"})
            assert wrong.status_code == 401
            assert "isn't the token" in wrong.text.replace("&#x27;", "'")
            assert "Fine-tuning jobs" in site.post("/login", data={"token": "open-sesame"}).text
            cookie = next(iter(site.cookies.jar))
            assert cookie.has_nonstandard_attr("HttpOnly")
            assert cookie.get_nonstandard_attr("SameSite") == "strict"
            assert cookie.name.startswith("tuneway_session_")
            assert "open-sesame" not in str(cookie.value)


# a real browser


def browse(folder: Path, url: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", *flags, url],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )


def complaints(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine (apt-get install chromium)")
class TestInABrowser:
    @pytest.mark.parametrize("path", ["/", "/files", "/models", "/jobs/{id}"])
    def test_pages_open_without_a_complaint(self, tmp_path, service, done, path):
        root = service.base_url.removesuffix("/v1")
        seen = browse(tmp_path, root + path.format(id=done.id), "--dump-dom")
        assert complaints(seen) == []
        assert "Tuneway" in seen.stdout

    def test_a_running_job_is_followed_to_its_end_without_a_reload(self, tmp_path):
        with running_service() as service, openai_for(service) as client:
            job = wait_for(client, slow_job(client, epochs=8, rows=300).id, "running")
            root = service.base_url.removesuffix("/v1")
            before = client.fine_tuning.jobs.retrieve(job.id)
            seen = browse(tmp_path, f"{root}/jobs/{job.id}", "--dump-dom", "--virtual-time-budget=600000")
            assert before.status == "running"
            assert wait_for(client, job.id).status == "succeeded"
            assert complaints(seen) == []
            assert 'class="status succeeded"' in seen.stdout
            assert "The job has successfully completed" in seen.stdout
            assert "<h2>Ask the model</h2>" in seen.stdout

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_it_is_drawn_and_follows_the_readers_taste(self, tmp_path, service, done, scheme):
        root = service.base_url.removesuffix("/v1")
        picture = tmp_path / "page.png"
        flags = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
        browse(tmp_path, f"{root}/jobs/{done.id}", f"--screenshot={picture}", "--window-size=1100,900", *flags)
        rows = pixels(picture.read_bytes())
        corner = rows[2][2][:3]
        assert (sum(corner) / 3 < 60) == (scheme == "dark")
        colours = {pixel[:3] for row in rows[::3] for pixel in row[::3]}
        assert (15, 133, 201) in colours  # the training curve
