from __future__ import annotations

import pytest

from models.config import FineTuningConfig
from models.tokens import ClipGeometry
from tests.models.samples import fine_tuning_config

CLASSES = ("angry", "sad")


def test_the_defaults_of_fine_tuning_are_those_of_the_reference_code():
    config = FineTuningConfig(classes=CLASSES)
    assert (config.label_smoothing, config.mixup, config.cutmix, config.mix_probability) == (0.1, 0.8, 1.0, 1.0)
    assert (config.cutmix_share, config.erasing, config.drop_path, config.layer_decay) == (0.5, 0.25, 0.1, 0.75)
    assert (config.loss, config.global_pool) == ("cross_entropy", "representative")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("sad",)}, r"classes=\('sad',\) must be at least 2 different names"),
        ({"classes": ("sad", "sad")}, "must be at least 2 different names"),
        ({"loss": "binary_cross_entropy"}, "loss=binary_cross_entropy is none of task=classes: cross_entropy"),
        ({"task": "multi_label", "loss": "mean_squared_error"}, "none of task=multi_label: binary_cross_entropy"),
        ({"label_smoothing": 1.0}, r"label_smoothing=1.0 must lie in \[0, 1\)"),
        ({"class_weights": (1.0, 2.0)}, "class_weights=.* must be a positive number for each of happy, sad, neutral"),
        ({"class_weights": (1.0, 2.0, 0.0)}, "must be a positive number"),
        ({"mixup": -0.1}, "mixup=-0.1 and cutmix=0.0 must be positive, or 0 for none"),
        ({"mixup": 0.8, "mix_probability": 0.0}, "to mix nothing set mixup and cutmix to 0"),
        ({"mixup": 0.8, "cutmix": 1.0, "cutmix_share": 1.0}, "for mixup or cutmix alone set the other to 0"),
        ({"erasing": 1.5}, r"erasing=1.5 must lie in \[0, 1\]"),
        ({"drop_path": 1.0}, r"drop_path=1.0 must lie in \[0, 1\)"),
        ({"layer_decay": 0.0}, r"layer_decay=0.0 must lie in \(0, 1\]"),
    ],
)
def test_values_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        fine_tuning_config(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "video_vit_nano", "global_pool": "local"}, "global_pool has no effect on video_vit_nano"),
        ({"encoder": "video_vit_nano", "lgi_variant": "intra"}, "lgi_variant has no effect on video_vit_nano"),
        ({"task": "multi_label", "loss": "binary_cross_entropy", "label_smoothing": 0.1}, "set it to 0"),
        ({"task": "regression", "loss": "mean_squared_error", "class_weights": (1.0,) * 3}, "leave them out"),
        ({"mix_probability": 0.5}, "mix_probability has no effect without mixup and cutmix"),
        ({"mixup": 0.8, "cutmix_share": 0.3}, "cutmix_share has no effect unless there are mixup and cutmix"),
        ({"trained": "head"}, "trained=head leaves the encoder as it is: set layer_decay=1.0$"),
        ({"trained": "head", "drop_path": 0.1}, "set drop_path=0.0, layer_decay=1.0"),
    ],
)
def test_options_without_an_effect_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        fine_tuning_config(**changes)


def test_a_region_that_does_not_tile_the_new_grid_is_refused_with_the_sizes_that_do():
    with pytest.raises(ValueError, match=r"region \(2, 5, 10\) .* columns must be one of \[1, 2, 7, 14\]"):
        FineTuningConfig(classes=CLASSES, geometry=ClipGeometry(height=160, width=224))
