"""Which devices there are, which of them are used, and what a process is shown."""

from __future__ import annotations

import os
import stat

import pytest

from tuneway.errors import InvalidSpec
from tuneway_service import devices

TWO_GPUS = """GPU 0: NVIDIA H200 (UUID: GPU-5b2f)
GPU 1: NVIDIA H200 (UUID: GPU-9c11)
"""
SLICED = """GPU 0: NVIDIA H200 (UUID: GPU-5b2f)
  MIG 3g.71gb     Device  0: (UUID: MIG-aaaa-1)
  MIG 3g.71gb     Device  1: (UUID: MIG-bbbb-2)
GPU 1: NVIDIA H200 (UUID: GPU-9c11)
"""


@pytest.mark.parametrize(
    ("listed", "names"),
    [(TWO_GPUS, ("0", "1")), (SLICED, ("MIG-aaaa-1", "MIG-bbbb-2", "1")), ("", ()), ("No devices were found\n", ())],
    ids=["two", "slices", "no driver", "none"],
)
def test_the_driver_tells_which_gpus_there_are(listed, names):
    assert devices.found({}, lambda: listed) == names


@pytest.mark.parametrize(
    ("shown", "names"),
    [("1,0", ("1", "0")), ("GPU-5b2f", ("GPU-5b2f",)), ("", ()), ("-1", ()), ("0,-1,1", ("0",))],
)
def test_gpus_that_are_hidden_from_the_service_are_not_there(shown, names):
    assert devices.found({"CUDA_VISIBLE_DEVICES": shown}, lambda: TWO_GPUS) == names


def test_the_driver_is_asked_by_its_own_program(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<END\n{TWO_GPUS}END\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert devices.found({}) == ("0", "1")
    program.write_text("#!/bin/sh\necho broken\nexit 9\n")
    assert devices.found({}) == ()
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert devices.found({}) == ()


@pytest.mark.parametrize(
    ("wanted", "names"),
    [(None, ("0", "1")), ("all", ("0", "1")), ("none", ()), ("1", ("1",)), ("1, 0", ("1", "0")), ("cpu:1", ("cpu:0",))],
)
def test_the_option_says_which_devices_are_used(wanted, names):
    assert devices.chosen(wanted, lambda: ("0", "1")) == names


def test_without_the_option_and_without_gpus_the_service_chooses_no_devices():
    assert devices.chosen(None, tuple) is None


@pytest.mark.parametrize(
    ("wanted", "there", "says"),
    [
        ("all", (), "no GPU was found on this machine"),
        ("2", ("0", "1"), "there is no GPU '2': this machine has 0, 1"),
        ("0,x", (), "there is no GPU '0': no GPU was found"),
        ("0,0", ("0", "1"), "names a GPU twice"),
        ("cpu:0", (), "between 1 and 64"),
        ("cpu:65", (), "between 1 and 64"),
        ("", ("0",), "there is no GPU ''"),
    ],
)
def test_a_device_that_is_not_there_is_refused(wanted, there, says):
    with pytest.raises(InvalidSpec, match=says) as caught:
        devices.chosen(wanted, lambda: there)
    assert caught.value.field == "gpus"


def test_a_process_is_shown_its_own_devices_alone():
    assert devices.visible(None) == {}
    assert devices.visible([]) == {"CUDA_VISIBLE_DEVICES": ""}
    assert devices.visible(["3", "MIG-aaaa-1"]) == {"CUDA_VISIBLE_DEVICES": "3,MIG-aaaa-1"}
    assert devices.visible(["cpu:0", "cpu:1"]) == {"CUDA_VISIBLE_DEVICES": ""}


def test_devices_are_said_for_people():
    assert devices.said(["0"]) == "GPU 0"
    assert devices.said(["0", "1", "3"]) == "GPU 0, GPU 1 and GPU 3"
    assert devices.said(["cpu:0", "cpu:1"]) == "cpu:0 and cpu:1"
