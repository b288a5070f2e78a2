"""What a notebook adds: `%mcp`, the panels, the checks of the exercises, the flow debugger with its panel.

Main names: `flow_debugger.FlowDebugger`, `widgets`, `exercises`. It imports `debugger` and the rooms below that. Public
is all but `magics_completion`, `magics_results`, which are parts of `magics`.
"""
