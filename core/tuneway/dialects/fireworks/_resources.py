"""The names of Fireworks' resources: an account is part of each."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from tuneway.calls import segment

SUPERVISED_JOBS, DPO_JOBS = "supervisedFineTuningJobs", "dpoJobs"
COLLECTIONS = (SUPERVISED_JOBS, DPO_JOBS)
ID_PARAMETERS = {SUPERVISED_JOBS: "supervisedFineTuningJobId", DPO_JOBS: "dpoJobId"}
BASE_MODELS = "fireworks"
"""The account that has the base models."""

_DATASET = re.compile(r"ds-([a-z2-7]{52})")


def last_segment(name: str) -> str:
    """The last part of a resource's name."""
    return name.rpartition("/")[2]


def dataset_id(sha256: str) -> str:
    """The id of the dataset with these bytes: their hash, in 52 characters that an id may have."""
    return "ds-" + base64.b32encode(bytes.fromhex(sha256)).decode().rstrip("=").lower()


def hash_of(dataset: str) -> str | None:
    """The hash of a dataset's bytes, if its id has it."""
    found = _DATASET.fullmatch(dataset)
    return base64.b32decode(found[1].upper() + "====").hex() if found else None


@dataclass(frozen=True, slots=True)
class Resources:
    """The resources of one account."""

    account: str

    @property
    def root(self) -> str:
        """The path that all of the account's resources are below."""
        return f"/v1/accounts/{segment(self.account)}"

    def job(self, job_id: str) -> tuple[str, str]:
        """The collection and the id of a job: `dpoJobs/ID` is a preference job, an id alone a supervised one."""
        own = job_id.removeprefix(f"accounts/{self.account}/")
        collection, slash, name = own.partition("/")
        return (collection, name) if slash and collection in COLLECTIONS else (SUPERVISED_JOBS, own)

    def job_path(self, job_id: str) -> str:
        """The path of a job."""
        collection, name = self.job(job_id)
        return f"{self.root}/{collection}/{segment(name)}"

    @staticmethod
    def job_id(collection: str, name: str) -> str:
        """The id under which we know a job, from its full name."""
        own = last_segment(name)
        return own if collection == SUPERVISED_JOBS else f"{collection}/{own}"

    def dataset(self, file_id: str) -> str:
        """The full name of a dataset."""
        return file_id if "/" in file_id else f"accounts/{self.account}/datasets/{file_id}"

    def file_id(self, name: str) -> str:
        """The id under which we know a dataset: without the account if it is ours."""
        return name.removeprefix(f"accounts/{self.account}/datasets/")

    @staticmethod
    def model(name: str) -> str:
        """The full name of a model; a name alone is one of Fireworks' base models."""
        return name if "/" in name else f"accounts/{BASE_MODELS}/models/{name}"
