"""What launched processes do together beside training."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from accelerate import Accelerator
from accelerate.state import AcceleratorState

import mousai
from mousai.launch.processes import leave

LEAVING = """
import os, torch
from mousai.launch.processes import leave, processes
accelerator = processes()
total = accelerator.reduce(torch.tensor([accelerator.process_index + 1.0])).item()
leave(accelerator)
os.write(1, f"{total} {torch.distributed.is_initialized()}\\n".encode())
"""


def test_processes_leave_their_group_together(tmp_path: Path) -> None:
    (tmp_path / "leaving.py").write_text(LEAVING)
    env = {**os.environ, "PYTHONPATH": str(Path(mousai.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(tmp_path / "leaving.py")]
    done = subprocess.run(launch, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[:4000]  # the process' own words come before the launcher's
    assert done.stdout.splitlines() == ["3.0 False"] * 2


def test_one_process_has_nothing_to_leave() -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True)
    leave(accelerator)
    assert accelerator.num_processes == 1  # and not taken apart
