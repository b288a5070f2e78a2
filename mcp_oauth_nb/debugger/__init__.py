"""The flow debugger without its panel: the shipping client, stopped before each thing that it sends.

Main names: `FlowRun`, `GuidedFlow`, `Step`. It imports `lab` and the rooms below that. Public is all but `breaking`,
`comparison`, `exchange`, `flow_table`, `browser_stops`, `gated_auth`, `guided_flow`, `person`, `run`, `tap`; what
others need of these is exported here.
"""

from .flow_table import STEPS, StepKind
from .guided_flow import GuidedFlow
from .run import FlowRun
from .step import Cause, Step

__all__ = ["STEPS", "Cause", "FlowRun", "GuidedFlow", "Step", "StepKind"]
