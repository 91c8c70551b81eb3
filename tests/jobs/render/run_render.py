"""`mousai ARGUMENTS…` without pictures, and with faults: `run_render.py FAULTS ARGUMENTS…`.

It is no test module: the tests start it, alone or under a launcher. FAULTS is JSON: what happens to the pieces of these
names when the first of their audio comes, an error's text or the name of a signal that the process sends itself.
"""

import json
import os
import signal
import sys
from pathlib import Path

from mousai.cli.main import main
from mousai.jobs.render.piece import Work
from mousai.pictures.overview import Overview

PICTURE = b"\x89PNG\r\n\x1a\n"


def without_pictures():
    """Drawing takes longer than everything else about a short piece."""
    Overview.add = lambda self, audio: None
    Overview.save = lambda self, path: Path(path).write_bytes(PICTURE)


def with_faults(faults):
    tell = Work.tell

    def told(self, share, doing):
        tell(self, share, doing)
        fault = faults.get(self.target.name)
        if fault in signal.Signals.__members__:
            os.kill(os.getpid(), getattr(signal, fault))
        elif fault:
            raise RuntimeError(fault)

    Work.tell = told


if __name__ == "__main__":
    without_pictures()
    with_faults(json.loads(sys.argv[1]))
    main(sys.argv[2:])
