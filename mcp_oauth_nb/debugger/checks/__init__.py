"""What is checked of each exchange, and why: `table` chooses the checks of a step."""
