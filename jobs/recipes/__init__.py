"""Which paper row, which values. A recipe is a function that returns a config; its docstring names row and metric."""
