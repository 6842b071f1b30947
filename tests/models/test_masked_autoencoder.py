from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.func import functional_call
from transformers import VideoMAEForPreTraining

from models.cubes import from_cubes, normalize_pixels, put, take, to_cubes
from models.masked_autoencoder import MaskedAutoencoder, build, masked_ids
from models.targets import make_target
from tests.models.samples import GEOMETRY, POLICIES, REGION, batch, clips, config, visible_ids
from tests.models.test_vit import copy_block, copy_encoder, peer_config, randomise

ENCODERS = ("lgi_former_nano", "video_vit_nano")
TARGETS = ("joint", "appearance", "motion", "video_mae")


def make(encoder: str = "lgi_former_nano", **changes) -> MaskedAutoencoder:
    torch.manual_seed(0)
    return build(config(encoder, **changes))


@torch.no_grad()
def copy_autoencoder(theirs: VideoMAEForPreTraining, ours: MaskedAutoencoder) -> None:
    copy_encoder(theirs.videomae, ours.encoder)
    ours.encoder_to_decoder.load_state_dict(theirs.encoder_to_decoder.state_dict())
    ours.decoder.mask_token.copy_(theirs.mask_token[0, 0])
    for source, destination in zip(theirs.decoder.decoder_layers, ours.decoder.blocks, strict=True):
        copy_block(source, destination)
    ours.decoder.norm.load_state_dict(theirs.decoder.norm.state_dict())
    ours.decoder.head.load_state_dict(theirs.decoder.head.state_dict())


@pytest.mark.parametrize("policy", ["tube", "random"])
def test_loss_and_predictions_agree_with_hugging_face(policy):
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 256}
    theirs = VideoMAEForPreTraining(
        peer_config(use_mean_pooling=False, **{f"decoder_{name}": value for name, value in sizes.items()})
    ).eval()
    randomise(theirs)
    theirs.decoder.norm.eps = 1e-6  # the original's; theirs is torch's default
    ours = make("video_vit_nano", target="video_mae", decoder_width=64)
    copy_autoencoder(theirs, ours)
    clip, visible = clips(2), visible_ids(policy, 2, region=GEOMETRY.grid)
    masked = torch.ones(2, GEOMETRY.num_tokens, dtype=torch.bool).scatter_(1, visible.long(), False)
    expected = theirs(normalize_pixels(clip).permute(0, 1, 4, 2, 3), bool_masked_pos=masked)
    loss = ours({"clip_BTHWC": clip, "visible_BRV": visible[:, None], "weight_B": torch.full((2,), 0.5)})["loss"]
    torch.testing.assert_close(loss, expected.loss, rtol=1e-5, atol=1e-6)
    prediction, masked_id = ours.reconstruct(clip, visible)
    torch.testing.assert_close(prediction, expected.logits, rtol=1e-4, atol=1e-4)
    assert torch.equal(masked_id, masked.nonzero()[:, 1].reshape(2, -1))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_no_masked_pixel_reaches_a_prediction(encoder, policy):
    region = (2, 4, 4) if policy == "tube" else REGION
    model = make(encoder, region=region) if encoder.startswith("lgi") else make(encoder)
    clip, visible = clips(2), visible_ids(policy, 2, region=region)
    prediction, masked = model.reconstruct(clip, visible)
    cubes = to_cubes(clip, GEOMETRY)
    other = from_cubes(put(cubes, masked, 255 - take(cubes, masked)), GEOMETRY)
    assert torch.equal(model.reconstruct(other, visible)[0], prediction)
    assert not torch.equal(model.reconstruct(255 - clip, visible)[0], prediction)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_loss_is_the_squared_error_of_what_reconstruct_gives(encoder, target):
    model, data = make(encoder, target=target), batch(2)
    prediction, masked = model.reconstruct(data["clip_BTHWC"], data["visible_BRV"][:, 0])
    truth = make_target(target, take(to_cubes(data["clip_BTHWC"], GEOMETRY), masked))
    assert prediction.shape == truth.shape
    losses = model(data)
    torch.testing.assert_close(losses["loss"], (prediction - truth).square().mean())
    assert set(losses) == {"loss", "loss/appearance", "loss/motion"} if target == "joint" else {"loss"}


@pytest.mark.parametrize("target", TARGETS)
def test_the_zero_loss_is_the_targets_mean_square_whatever_the_weights(target):
    data = batch(2, masks=2)
    model = make(target=target)
    mean_squares = []
    for r in range(2):
        _, masked = model.reconstruct(data["clip_BTHWC"], data["visible_BRV"][:, r])
        mean_squares.append(make_target(target, take(to_cubes(data["clip_BTHWC"], GEOMETRY), masked)).square().mean())
    torch.testing.assert_close(model.zero_loss(data), sum(mean_squares) / 2)
    assert model.zero_loss(data) == make("video_vit_nano", target=target).zero_loss(data)


def test_lambda_weighs_appearance_against_motion():
    data = batch(2)
    losses = make(appearance_weight=0.8)(data)
    torch.testing.assert_close(losses["loss"], 0.8 * losses["loss/appearance"] + 0.2 * losses["loss/motion"])
    equal = make()(data)
    assert equal["loss/appearance"] == losses["loss/appearance"]
    assert equal["loss"] != losses["loss"]


def test_the_loss_before_training_is_one_plus_the_predictions_own_square():
    """Normalised noise has mean 0 and variance 1, and an untrained prediction knows nothing of it. The head's Xavier
    bound makes the prediction's mean square about 2 x width / (width + values), here 0.04 and 0.4 in the base model."""
    model, data = make(target="video_mae"), batch(4)
    prediction, _ = model.reconstruct(data["clip_BTHWC"], data["visible_BRV"][:, 0])
    own = prediction.square().mean().item()
    assert model(data)["loss"].item() == pytest.approx(1 + own, abs=0.02)
    assert own < 0.1


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_parameter_gets_a_gradient(encoder):
    model = make(encoder)
    model(batch(2))["loss"].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("variant", ["intra", "intra_inter", "intra_lgi"])
def test_every_parameter_of_a_variant_gets_a_gradient_but_an_inter_attention_nobody_reads(variant):
    model = make(lgi_variant=variant)
    last = len(model.encoder.blocks) - 1
    model(batch(2))["loss"].backward()
    for name, parameter in model.named_parameters():
        # Without local-global interaction nothing follows the last exchange between representative tokens.
        unread = variant == "intra_inter" and name.startswith(f"encoder.blocks.{last}.inter_")
        assert parameter.grad.any() != unread, name


def gradients(model: MaskedAutoencoder, data: dict) -> tuple[dict, list]:
    model.zero_grad()
    losses = model(data)
    losses["loss"].backward()
    return {k: v.detach() for k, v in losses.items()}, [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_rows_of_weight_0_change_neither_loss_nor_gradients(encoder):
    model, data = make(encoder).double(), batch(2)
    padded = {name: torch.cat([value, value.flip(0)]) for name, value in data.items()}
    padded["clip_BTHWC"][2] = 0  # a rejected sample
    padded["weight_B"][2:] = 0
    torch.testing.assert_close(gradients(model, padded), gradients(model, data), rtol=1e-6, atol=1e-12)


def test_losses_are_sums_over_rows_of_weight_times_row():
    model, data = make(), batch(3)
    data["weight_B"] = torch.tensor([0.2, 0.5, 0.1])
    rows = [model({name: value[i : i + 1] for name, value in data.items()}) for i in range(3)]
    for name, value in model(data).items():
        torch.testing.assert_close(value, sum(row[name] for row in rows))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_several_masks_of_a_clip_share_its_weight(encoder):
    model, data = make(encoder), batch(2, masks=3)
    single = [model(data | {"visible_BRV": data["visible_BRV"][:, r : r + 1]}) for r in range(3)]
    for name, value in model(data).items():
        torch.testing.assert_close(value, sum(losses[name] for losses in single) / 3)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_bf16_weights_and_bf16_autocast_give_finite_losses_and_gradients_near_fp32(encoder):
    model, data = make(encoder), batch(2)
    expected = model(data)["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        autocast, _ = gradients(model, data)
    cast, cast_gradients = gradients(model.bfloat16(), data)
    for losses in (autocast, cast):
        assert all(value.dtype == torch.float32 for value in losses.values())
        torch.testing.assert_close(losses["loss"], expected, rtol=0.01, atol=0)
    assert all(gradient.dtype == torch.bfloat16 and gradient.isfinite().all() for gradient in cast_gradients)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_engines_may_cast_the_weights_and_leave_the_buffers(encoder):
    model = make(encoder)
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16()
    losses, _ = gradients(model, batch(2))
    assert losses["loss"].isfinite()


@pytest.mark.parametrize("encoder", ENCODERS)
def test_activation_checkpointing_runs_blocks_twice_and_changes_no_gradient(encoder):
    results = []
    for enabled in (False, True):
        model, calls = make(encoder, activation_checkpointing=enabled), []
        blocks = (*model.encoder.blocks, *model.decoder.blocks)
        for block in blocks:
            block.mlp.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        results.append(gradients(model, batch(2)))
        assert len(calls) == (2 if enabled else 1) * len(blocks)
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_a_few_steps_of_adamw_lower_the_loss():
    model, data = make(), batch(4)
    data["clip_BTHWC"] = data["clip_BTHWC"][:, :1].repeat_interleave(4, dim=1)  # still pictures: no motion
    optimizer = torch.optim.AdamW(model.parameter_groups(0.05), lr=3e-3)
    losses = []
    for _ in range(25):
        loss = model(data)["loss"]
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]


def test_masked_ids_are_the_others_in_ascending_order():
    visible = torch.tensor([[0, 2, 5], [4, 1, 3]])
    assert masked_ids(visible, 7).tolist() == [[1, 3, 4, 6], [0, 2, 5, 6]]


@pytest.mark.parametrize("visible", [[[0, 0, 1]], [[0, 1, 2, 3]]])
def test_repeated_ids_and_masks_that_hide_nothing_are_refused(visible):
    with pytest.raises(ValueError, match="of 4 tokens: they must differ and leave one to predict"):
        masked_ids(torch.tensor(visible), 4)


def test_clips_that_are_not_uint8_are_refused():
    data = batch(1)
    with pytest.raises(ValueError, match=r"clips must be uint8 RGB, these are torch\.float32"):
        make()(data | {"clip_BTHWC": data["clip_BTHWC"].float()})


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_step_on_a_gpu_never_waits_for_a_value(encoder):
    model, data = make(encoder), batch(2)
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    with FakeTensorMode():  # tensors without values: reading one on the host is an error
        gpu_state, gpu_data = ({k: as_gpu(v) for k, v in tensors.items()} for tensors in (state, data))
        assert functional_call(model, gpu_state, (gpu_data,))["loss"].device.type == "cuda"
        with pytest.raises(DataDependentOutputException):
            bool(gpu_data["weight_B"].any())


def as_gpu(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")


def test_losses_are_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        losses = make()(batch(2))
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
