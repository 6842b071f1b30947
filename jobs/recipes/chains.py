"""The recipes of `jobs/chain.py`."""

from __future__ import annotations

from collections.abc import Callable

from jobs.parts.chain_config import ChainConfig
from jobs.recipes import chain_mae_dfer, chain_maura, chain_nano

RECIPES: dict[str, Callable[[], ChainConfig]] = {
    recipe.__name__: recipe
    for recipe in (
        chain_nano.nano,
        chain_mae_dfer.mae_dfer,
        chain_mae_dfer.epochs,
        chain_mae_dfer.architecture,
        chain_mae_dfer.loss_weight,
        chain_mae_dfer.region_size,
        chain_mae_dfer.token_type,
        chain_mae_dfer.model_size,
        chain_mae_dfer.videomae_joint,
        chain_maura.maura,
    )
}
