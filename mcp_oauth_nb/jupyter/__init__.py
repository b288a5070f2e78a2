"""What a notebook adds: `%mcp`, the panels, the checks of the exercises, the flow debugger with its panel.

Main names: `flow_debugger.FlowDebugger`, `widgets`, `exercises`. It imports `debugger` and what is below. Public:
`flow_debugger`, `magics`, `widgets`, `exercises`.
"""
