"""Mathematics: tensors in, tensors out.

Encoders, decoders, masked autoencoders, reconstruction targets, fine-tuning, probes, metrics, parameter groups, weight
files. No module here knows a cluster, a rank, a data set or a file other than weights; nothing here imports ray,
deepspeed or another room.
`tokens` is free of torch and may be imported from anywhere: it is the contract between the rooms.
"""
