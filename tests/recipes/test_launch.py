"""The launch files: Accelerate reads them, and the Slurm scripts give each task its place and queue again when stopped."""

import os
import re
import subprocess
from pathlib import Path

import pytest

import mousai

RECIPES = Path(mousai.__file__).parents[1] / "recipes"


@pytest.mark.parametrize("path", sorted((RECIPES / "accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_takes_the_file(path):
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    assert load_config_from_file(str(path)).num_processes == {"one_gpu": 1, "cpu": 2, "four_gpus": 4, "nodes": 16}.get(path.stem, 8)
    address = ["--main_process_ip", "10.0.0.1"] if path.stem == "nodes" else []
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(["--config_file", str(path), *address, "script.py"]))
    assert arguments.use_fsdp == (path.stem == "fsdp") and arguments.multi_gpu == (path.stem in ("cpu", "four_gpus", "eight_gpus", "nodes"))
    assert f"recipes/accelerate/{path.name}" in path.read_text()


@pytest.mark.parametrize("name, code", [("train", 0), ("train", 130), ("cache", 130)])
def test_slurm_scripts(name, code, tmp_path):
    programs = {
        "scontrol": 'if [ "$1" = show ]; then printf "first\\nsecond\\n"; else echo "$@" >> requeued; fi',
        "srun": 'shift; for i in 0 1; do SLURM_PROCID=$i SLURM_LOCALID=$i "$@" & done; wait %1; first=$?; wait %2; exit $first',
        "mousai": f'echo "$@ $RANK/$WORLD_SIZE $LOCAL_RANK $MASTER_ADDR:$MASTER_PORT" >> calls; exit {code}',
    }
    for program, text in programs.items():
        (tmp_path / program).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / program).chmod(0o755)
    slurm = {"SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", RECIPES / "slurm" / f"{name}.sh", "r.yaml", "--set", "a=[b, c]"], env=os.environ | slurm, cwd=tmp_path, capture_output=True)
    assert done.returncode == code, done.stderr
    calls = sorted((tmp_path / "calls").read_text().splitlines())
    assert calls == [f"{name} r.yaml --set a=[b, c] {rank}/2 {rank} first:20007" for rank in (0, 1)]
    assert (tmp_path / "requeued").exists() == (code == 130)
    assert code == 0 or (tmp_path / "requeued").read_text() == "requeue 7\n"
    assert re.search(r"^#SBATCH --signal=TERM@300$", (RECIPES / "slurm" / f"{name}.sh").read_text(), re.MULTILINE)


@pytest.mark.parametrize("code", [0, 1, 130])
def test_the_slurm_array_renders_and_queues_its_task_again(code, tmp_path):
    programs = {
        "scontrol": 'echo "$@" >> requeued',
        "srun": 'exec "$@"',
        "mousai": f'echo "$#: $@, $SLURM_ARRAY_TASK_ID of ${{WORLD_SIZE:-none}}, threads $OMP_NUM_THREADS" >> calls; exit {code}',
    }
    for program, text in programs.items():
        (tmp_path / program).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / program).chmod(0o755)
    slurm = {"SLURM_JOB_ID": "40", "SLURM_ARRAY_JOB_ID": "40", "SLURM_ARRAY_TASK_ID": "3", "SLURM_CPUS_PER_TASK": "8", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    script = RECIPES / "slurm" / "render.sh"
    done = subprocess.run(["bash", script, "a night.yaml", "--out", "night"], env=os.environ | slurm, cwd=tmp_path, capture_output=True)
    assert done.returncode == code, done.stderr
    assert (tmp_path / "calls").read_text() == "4: render a night.yaml --out night, 3 of none, threads 8\n"
    assert (tmp_path / "requeued").exists() == (code == 130)
    assert code != 130 or (tmp_path / "requeued").read_text() == "requeue 40_3\n"  # 40 would be every task
    lines = script.read_text().splitlines()
    assert {f"#SBATCH --{option}" for option in ("array=0-7", "gpus-per-task=1", "signal=TERM@300", "requeue")} <= set(lines)
