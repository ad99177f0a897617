"""Ask a model as soon as it is registered: prefect.yaml has the trigger that starts this.

prefect deploy --all
"""

from __future__ import annotations

from prefect import flow, get_run_logger

from prefect_tuneway import FineTuningCredentials

QUESTION = "Where is my parcel?"


@flow
def answer(ref: str, model_id: str, credentials: str | None = None) -> str:
    """Ask a registered model one question."""
    access = FineTuningCredentials.load(credentials) if credentials else FineTuningCredentials()
    with access.get_client() as client:
        said = client.ask(model_id, [{"role": "user", "content": QUESTION}])
    get_run_logger().info("%s says: %s", ref, said)
    return said
