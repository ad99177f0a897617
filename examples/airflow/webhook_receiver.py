"""Where a fine-tuning service sends its webhooks: what succeeds is registered, and Airflow is told at once.

    OPENAI_WEBHOOK_SECRET=whsec_… AIRFLOW_TOKEN=… python webhook_receiver.py --name support-router

A triggerer has no address that others could call, but Airflow's API has one, with logins and an audit log:
`POST /api/v2/assets/events`. DAGs that are scheduled on `model_asset("support-router")` run on such an event
as they do after `RegisterModelOperator`. Needs the `openai` package, which checks the signatures; the service
is the one that OPENAI_BASE_URL and OPENAI_API_KEY name, the registry that of TUNEWAY_REGISTRY_URI.

A delivery that fails is answered with 500, so that the service sends it again; registering it again changes
nothing.
"""

from __future__ import annotations

import argparse
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

import httpx
from openai import InvalidWebhookSignatureError, OpenAI

from tuneway import Client
from tuneway.steps import version_summary


def register(job_id: str, name: str) -> dict[str, Any]:
    """Register the job's model, once; gives the version in a few words."""
    with Client() as client:
        return version_summary(client.register(job_id, name=name))


def tell_airflow(url: str, version: dict[str, Any]) -> None:
    """Make an event of the model's asset, which carries the version."""
    uri = f"tuneway://models/{quote(version['name'], safe='')}"
    login = {"authorization": f"Bearer {os.environ['AIRFLOW_TOKEN']}"}
    with httpx.Client(base_url=f"{url}/api/v2", headers=login) as airflow:
        found = airflow.get("/assets", params={"uri_pattern": uri}).raise_for_status().json()["assets"]
        [asset_id] = [asset["id"] for asset in found if asset["uri"] == uri]
        airflow.post("/assets/events", json={"asset_id": asset_id, "extra": version}).raise_for_status()


class Receiver(BaseHTTPRequestHandler):
    """Takes deliveries."""

    options: argparse.Namespace

    def do_POST(self) -> None:
        """Take one."""
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            event = OpenAI(api_key="none").webhooks.unwrap(body, dict(self.headers.items()))
            if event.type == "fine_tuning.job.succeeded":
                tell_airflow(self.options.airflow, register(event.data.id, self.options.name))
            status = 200
        except InvalidWebhookSignatureError:
            status = 400
        except Exception as error:  # noqa: BLE001 - whatever it was, the service shall try again
            self.log_error("%s", error)
            status = 500
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()


def main() -> None:
    """Listen until killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="what the models are registered as")
    parser.add_argument("--airflow", default="http://127.0.0.1:8080", help="where Airflow's API is")
    parser.add_argument("--port", type=int, default=8090)
    Receiver.options = parser.parse_args()
    ThreadingHTTPServer(("127.0.0.1", Receiver.options.port), Receiver).serve_forever()


if __name__ == "__main__":
    main()
