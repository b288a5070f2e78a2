"""The flow debugger without its panel: the shipping client, stopped before each thing that it sends.

Main names: `FlowRun`, `GuidedFlow`, `Step`. It imports `lab` and the rooms below that. Public is all but `breaking`,
`comparison`, `exchange`, `export_code`, `gated_auth`, `guided_flow`, `run`; what others need of these is exported here.
"""

from .guided_flow import GuidedFlow
from .run import FlowRun
from .step import STEPS, Cause, Step, StepKind

__all__ = ["STEPS", "Cause", "FlowRun", "GuidedFlow", "Step", "StepKind"]
