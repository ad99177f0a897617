"""A service in memory that trains at once: for tests of everything that comes after a job was created."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.fake_service import FakeService, refuse, reply, result_csv
from support.fault_server import FaultServer

STEPS = 20


@contextmanager
def serving_jobs_that_go_on() -> Iterator[FaultServer]:
    """Serve, on a socket, a service whose jobs live until a test ends them."""
    service = QuickService()
    service.ends = None
    with FaultServer(service) as server:
        yield server


class QuickService(FakeService):  # type: ignore[misc]  # seen from here, a helper of the tests has no type
    """Every job that is created ends at once, with metrics, checkpoints and a result file."""

    ends: str | None = "succeeded"

    def _create_job(self, request):
        response = super()._create_job(request)
        if response.status != 200 or self.ends is None:
            return response
        self.train(self.jobs[-1]["id"], self.ends)
        return reply(self.jobs[-1])

    def train(self, job_id, ends="succeeded"):
        """Let a job have trained, and end like this."""
        self.add_event(job_id, "Fine-tuning job started")
        for step in range(1, STEPS + 1):
            loss = round(2 / step, 4)
            data = {"step": step, "total_steps": STEPS, "train_loss": loss, "train_mean_token_accuracy": 0.5}
            if step % 10 == 0:
                data |= {"full_valid_loss": loss + 0.1}
            self.add_event(job_id, f"Step {step}/{STEPS}: training loss={loss}", type="metrics", data=data)
        self.checkpoints[job_id] = [self._checkpoint(job_id, *one) for one in ((10, 0.3), (20, 0.5))]
        fields: dict[str, Any] = {}
        if ends == "succeeded":
            rows = [f"{step},{2 / step:.4f},0.5,{2 / step + 0.05 if step % 10 == 0 else ''}," for step in range(1, 21)]
            result = self.add_file(purpose="fine-tune-results", filename="step_metrics.csv")
            self.contents[result["id"]] = result_csv(*rows)
            fields = {"result_files": [result["id"]], "trained_tokens": 1_000_000}
        elif ends == "failed":
            fields = {"error": {"code": "invalid_training_file", "message": "line 3 is no good", "param": None}}
        self.finish(job_id, ends, **fields)

    def _checkpoint(self, job_id, step, loss):
        return {
            "id": f"ftckpt-{job_id}-{step}",
            "object": "fine_tuning.job.checkpoint",
            "created_at": int(self.clock()),
            "fine_tuned_model_checkpoint": f"ft:base:org::{job_id}:ckpt-step-{step}",
            "fine_tuning_job_id": job_id,
            "step_number": step,
            "metrics": {"full_valid_loss": loss},
        }

    def handle(self, request):
        """Answer a request."""
        if request.path == "/chat/completions":
            self.log.append(request)
            body = request.json or {}
            said = f"{body['model']} heard {body['messages'][-1]['content']}"
            return reply({"choices": [{"message": {"role": "assistant", "content": said}}]})
        if request.path.startswith("/models/"):
            return refuse(404, "no such model")
        return super().handle(request)
