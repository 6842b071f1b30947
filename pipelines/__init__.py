"""Data: object storage to batches.

Storage, catalogs, corpora, decoding, crops, masks, the synthetic corpus, the stream. May import of `models` only
`tokens`; never ray.train, ray.tune, deepspeed, `cluster` or `jobs`. `storage` may be imported from anywhere.
"""
