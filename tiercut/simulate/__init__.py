"""Replays traces of bandwidth, delay and load in virtual time: what each policy makes of the same frames.

`traces` is what links and nodes do, `scenario` reads the file that says so, `world` moves frames through it, `policies`
choose the plans, `run` puts them together, `report` and `picture` say what came of it.
"""

from tiercut.simulate.run import Replay, simulate
from tiercut.simulate.scenario import Scenario, load_scenario

__all__ = ["Replay", "Scenario", "load_scenario", "simulate"]
