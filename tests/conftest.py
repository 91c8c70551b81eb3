"""What must be so before any test imports torch: one thread that does not spin, no network, torchaudio without its library."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "Agg"

import mousai  # noqa: E402, F401  (installs the hook of mousai/compat.py)
