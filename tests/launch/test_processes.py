"""What the first process of a launch makes for all of them."""

import os
import subprocess
import sys
from pathlib import Path

import mousai

PROGRAM = """
import os, sys
from mousai.data.loader import open_sources
from mousai.data import index
from mousai.launch.processes import leave, processes
looked, info = [], index.io.info
index.io.info = lambda file: looked.append(file) or info(file)
accelerator = processes()
[(source, weight)] = open_sources([sys.argv[1]], accelerator)
try:
    open_sources([sys.argv[1] + "/none.jsonl"], accelerator)
except FileNotFoundError as error:
    said = str(error)
os.write(1, f"{accelerator.process_index}: {len(looked)} looked into, {[track.key for track in source]}, {source.skipped[0][0]}; {said}\\n".encode())
leave(accelerator)
"""


def test_one_process_looks_at_the_sources_and_all_know_them(tmp_path: Path) -> None:
    import numpy as np
    import soundfile

    (tmp_path / "music").mkdir()
    for name in ("a", "b"):
        soundfile.write(tmp_path / "music" / f"{name}.wav", np.zeros(800), 8000)
    (tmp_path / "music" / "c.wav").write_bytes(b"RIFF and no more")
    (tmp_path / "program.py").write_text(PROGRAM)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(tmp_path / "program.py"), str(tmp_path / "music")]
    env = {**os.environ, "PYTHONPATH": str(Path(mousai.__file__).parents[1]), "OMP_NUM_THREADS": "1", "MOUSAI_CACHE": str(tmp_path / "kept")}
    done = subprocess.run(launch, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    told = f"looked into, ['a.wav', 'b.wav'], c.wav; no such manifest: {tmp_path / 'music/none.jsonl'}"
    assert sorted(done.stdout.splitlines()) == [f"0: 3 {told}", f"1: 0 {told}"]
    assert done.stderr.count("skipped c.wav") <= 1  # one line, not one a process
