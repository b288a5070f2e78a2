"""The flow debugger without its panel: the shipping client, stopped before each thing that it sends."""

from .guided_flow import GuidedFlow
from .record import Cause, Step
from .run import FlowRun
from .steps import STEPS, StepKind

__all__ = ["STEPS", "Cause", "FlowRun", "GuidedFlow", "Step", "StepKind"]
