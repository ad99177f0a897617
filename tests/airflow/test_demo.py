"""`make demo`: the nightly DAG, run as a new user runs it."""

from __future__ import annotations

import pytest
from support.demo import check_the_demo

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_the_demo_trains_once_and_adopts_after_that(tmp_path):
    check_the_demo("airflow", tmp_path)
