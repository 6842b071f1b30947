"""More than one process: the Ray runtime, training workers, the DeepSpeed engine, the loop, checkpoints, telemetry.

Blind to what is trained: sees a task, a stream and probes through `protocols`. Imports of the other rooms only
`models.tokens` and `pipelines.storage`.
"""
