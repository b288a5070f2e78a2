"""The flow debugger without its panel: the shipping client, stopped before each thing that it sends."""

from .flow_table import STEPS, StepKind
from .guided_flow import GuidedFlow
from .run import FlowRun
from .step import Cause, Step

__all__ = ["STEPS", "Cause", "FlowRun", "GuidedFlow", "Step", "StepKind"]
