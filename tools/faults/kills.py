"""What befalls a command while it runs: kills and signals, full disks, another one beside it."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable

from faults import fork
from faults.commands import COMMANDS, Command, leftovers, loads
from faults.fork import Ended, Fault
from faults.stage import Found, Stage, complaints, ill

AGAIN = 0.25  # of the cases in which the command that goes on is disturbed too
SIGNALS = {signal.SIGKILL: 0.75, signal.SIGTERM: 0.15, signal.SIGINT: 0.1}


def kill(stage: Stage, command: Command, chance: random.Random) -> tuple[Found, str]:
    """A command is ended at a change of a file, perhaps again when it goes on; the next one has to finish as if nothing had been."""
    usual = stage.undisturbed(command)
    stage.start(command)
    faults = []
    while not faults or len(faults) < 3 and chance.random() < AGAIN:
        which = chance.choices(list(SIGNALS), list(SIGNALS.values()))[0]
        faults.append(Fault(chance.randint(1, usual.changes), int(which)))
        ended = stage.play(command, faults[-1], chance.randrange(command.processes))
        if found := kept(stage, command, faults[-1], ended, first=len(faults) == 1):
            return found, said(faults)
    return stage.finish(command), said(faults)


def full(stage: Stage, command: Command, chance: random.Random) -> tuple[Found, str]:
    """The disk is full, once or from some change on, or takes no file of some size; afterwards there is room again."""
    usual = stage.undisturbed(command)
    stage.start(command)
    if chance.random() < 0.3:
        fault = Fault(file_bytes=round(10 ** chance.uniform(1, 6)))
    else:
        fault = Fault(chance.randint(1, usual.changes), full=True, once=chance.random() < 0.5)
    ended = stage.play(command, fault, chance.randrange(command.processes))
    if found := kept(stage, command, fault, ended):
        return found, said([fault])
    return stage.finish(command), said([fault])


def race(stage: Stage, command: Command, chance: random.Random) -> tuple[Found, str]:
    """The same command twice at once: both make it, or one says who is at it."""
    usual = stage.undisturbed(command)
    stage.start(command)
    apart = chance.choice([0.0, chance.uniform(0, 0.1), chance.uniform(0, 0.8)]) * usual.seconds
    ended = fork.together([(list(command.words), Fault(), {})] * 2, apart=apart)
    what = f"two at once, {apart:.3f} s apart"
    if found := ill(ended):
        return found, what
    if all(each.code for each in ended):
        return Found("lost", f"neither made it: {complaints(ended[0])} {complaints(ended[1])}"), what
    if broken := loads(stage.here, command):
        return Found("lost", broken), what
    return stage.finish(command), what


def kept(stage: Stage, command: Command, fault: Fault, ended: list[Ended], first: bool = True) -> Found | None:
    """What is wrong right after a fault: the last good state has to load, and who could say so has cleaned up."""
    if found := ill(ended):
        return found
    if broken := loads(stage.here, command):
        return Found("lost", broken)
    if first and fault.signal != signal.SIGKILL:  # later there may be what a killed one left, until somebody sweeps to the end
        half = [name for name in leftovers(stage.here) if ".tmp-" in name and not name.startswith("home/")]
        if half:
            return Found("leftovers", f"after {fault}: {', '.join(half[:3])}")
    return None


def said(faults: list[Fault]) -> str:
    return ", then ".join(map(str, faults))


ACTS = {"kills": kill, "full": full, "races": race}
NAMES = {kind: [name for name, command in COMMANDS.items() if command.processes == 1 or kind == "kills"] for kind in ACTS}


def act(kind: str, name: str) -> Callable[[Stage, random.Random], tuple[Found, str]]:
    """What happens in the cases of a command."""
    return lambda stage, chance: ACTS[kind](stage, COMMANDS[name], chance)


def shares(names: list[str], count: int) -> list[str]:
    """So many cases over the names, by their commands' weights, the same ones first whatever the count."""
    weights = {name: COMMANDS[name].weight if name in COMMANDS else 1.0 for name in names}
    owed, chosen = dict.fromkeys(names, 0.0), []
    for _ in range(count if names else 0):
        for name, weight in weights.items():
            owed[name] += weight / sum(weights.values())
        chosen.append(max(owed, key=owed.__getitem__))
        owed[chosen[-1]] -= 1
    return chosen
