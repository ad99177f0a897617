"""One runner of each kind for all scenarios, and what each has been seen to do."""

from __future__ import annotations

import re
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.parity.engines import RUNNERS
from support.parity.scenarios import FORMS, TABLE
from support.parity.stage import staged


class Playhouse:
    """Plays a scenario with all runners at once, in all its forms; what was seen is kept."""

    def __init__(self, home):
        self._home = home
        # each form has a runner of its own, so that both are played at once: most of a play is waiting
        self._runners = {
            (kind.name, form): kind(home / f"{kind.name} {form}".replace(" ", "-"))
            for kind in RUNNERS
            for form in FORMS
        }
        self._seen = {}

    def seen(self, scenario, name):
        """What this runner was seen to do in this scenario, by the form of its pipeline."""
        if scenario not in self._seen:
            forms = TABLE[scenario].forms
            with ThreadPoolExecutor(len(self._runners)) as pool:
                self._seen[scenario] = {
                    (kind, form): pool.submit(self._play, scenario, runner, form)
                    for (kind, form), runner in self._runners.items()
                    if form in forms
                }
        return {form: seen.result() for (kind, form), seen in self._seen[scenario].items() if kind == name}

    def _play(self, scenario, runner, form):
        row = TABLE[scenario]
        folder = Path(tempfile.mkdtemp(dir=self._home)) / "stage"
        folder.mkdir()
        pipeline = f"{scenario} {form}" if len(row.forms) > 1 else scenario
        order = {"pipeline": re.sub(r"\W+", "-", pipeline), "form": form, **row.data(folder), **row.order}
        with staged(row.world, runner, folder, **order) as stage:
            return stage.seen(row.play(stage))

    def close(self):
        for runner in self._runners.values():
            runner.close()


@pytest.fixture(scope="session")
def playhouse():
    home = Path(tempfile.mkdtemp(prefix="tuneway-parity-"))
    house = Playhouse(home)
    yield house
    house.close()
    shutil.rmtree(home, ignore_errors=True)
