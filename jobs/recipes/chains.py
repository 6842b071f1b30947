"""The recipes of `jobs/chain.py`."""

from __future__ import annotations

from collections.abc import Callable

from jobs.parts.chain_config import ChainConfig
from jobs.recipes import chain_ctyunai, chain_emotic, chain_mae_dfer, chain_maura, chain_nano, chain_netease

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
        chain_netease.netease_nano,
        chain_netease.netease_abaw5,
        chain_netease.netease_untuned,
        chain_netease.netease_folds,
        chain_netease.netease_features,
        chain_netease.netease_dln,
        chain_ctyunai.ctyunai_nano,
        chain_ctyunai.ctyunai_abaw6,
        chain_ctyunai.ctyunai_folds,
        chain_emotic.emotic_nano,
        chain_emotic.emotic_abaw6,
        chain_emotic.emotic_inputs,
        chain_emotic.emotic_fusions,
    )
}
