"""lm-eval: a task whose answers are generated, from a local file; nothing is downloaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

pytestmark = pytest.mark.slow

ROWS = [("France", "Paris"), ("Italy", "Rome"), ("Spain", "Madrid")]
TASK = """\
task: capitals
dataset_path: json
dataset_kwargs:
  data_files:
    test: {rows}
output_type: generate_until
test_split: test
doc_to_text: "What is the capital of {{{{country}}}}? Answer with the name of the city."
doc_to_target: "{{{{city}}}}"
generation_kwargs:
  until: ["\\n"]
  max_gen_toks: 24
  do_sample: false
  temperature: 0
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
filter_list:
  - name: city
    filter:
      - function: regex
        regex_pattern: "(Paris|Rome|Madrid)"
      - function: take_first
metadata:
  version: 1
"""


def test_a_generative_task_is_scored(service, tmp_path):
    if find_spec("lm_eval") is None:
        pytest.skip("lm-eval isn't installed")
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"country": country, "city": city}) + "\n" for country, city in ROWS))
    (tmp_path / "capitals.yaml").write_text(TASK.format(rows=rows))
    settings = {
        "model": "smol",
        "base_url": f"{service.base_url}/chat/completions",
        "num_concurrent": 3,
        "max_retries": 1,
        "tokenized_requests": False,
    }
    done = subprocess.run(
        [
            *(sys.executable, "-m", "lm_eval", "run", "--model", "local-chat-completions"),
            *("--model_args", ",".join(f"{name}={value}" for name, value in settings.items())),
            *("--tasks", "capitals", "--include_path", str(tmp_path), "--apply_chat_template"),
            *("--output_path", str(tmp_path / "out")),
        ],
        env={
            **os.environ,
            "OPENAI_API_KEY": "none",
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1",
        },
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (written,) = (tmp_path / "out").rglob("results_*.json")
    found = json.loads(written.read_text())
    assert found["results"]["capitals"]["exact_match,city"] == 1
    assert found["n-samples"]["capitals"]["effective"] == len(ROWS)
