"""The verbs a user types, one file each; `recipes` hold the values of the papers, `parts` what several verbs compose.

A job file parses, composes and calls; nothing defined in it travels to a worker process.
"""
