from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call

from models.config import MultiViewConfig
from models.cubes import from_cubes, put, take, to_cubes
from models.masked_autoencoder import build as build_single_view
from models.masked_autoencoder import masked_ids
from models.multi_view import MultiViewAutoencoder, build
from models.targets import make_target
from models.tokens import MULTI_VIEW_BATCH, check_batch
from tests.models.samples import GEOMETRY, config, multi_view_batch, multi_view_config

ENCODERS = ("video_vit_nano", "lgi_former_nano")
SWITCHES = [
    {"loss_tokens": loss, "target_view_embedding": view, "position_embedding": position}
    for loss, view, position in product(("masked", "all"), ("off", "learned"), ("learned", "sinusoid"))
]


def make(encoder: str = "video_vit_nano", **changes) -> MultiViewAutoencoder:
    torch.manual_seed(0)
    return build(multi_view_config(encoder, **changes))


def ids_of(data: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Visible and masked ids of the first mask of every row."""
    visible_BV = data["visible_BRV"][:, 0].long()
    return visible_BV, masked_ids(visible_BV, GEOMETRY.num_tokens)


def inverted(clip_BTHWC: Tensor, token_BM: Tensor) -> Tensor:
    cubes_BNK = to_cubes(clip_BTHWC, GEOMETRY)
    return from_cubes(put(cubes_BNK, token_BM, 255 - take(cubes_BNK, token_BM)), GEOMETRY)


def encoded(model: MultiViewAutoencoder, data: dict[str, Tensor]) -> Tensor:
    """What the encoder hands to the decoder in a step."""
    seen = []
    handle = model.encoder_to_decoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    model(data)
    handle.remove()
    return seen[0]


def test_the_batch_is_its_contract():
    data = {name: value.numpy() for name, value in multi_view_batch(2, masks=3).items() if name != "weight_B"}
    check_batch(data | {"rejected_B": ["", ""]}, MULTI_VIEW_BATCH)
    with pytest.raises(ValueError, match="column target_BTHWC: axis T is 2, elsewhere 4"):
        check_batch(data | {"rejected_B": ["", ""], "target_BTHWC": data["target_BTHWC"][:, :2]}, MULTI_VIEW_BATCH)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("switches", SWITCHES)
def test_neither_masked_pixels_nor_the_target_reach_the_encoder(encoder, switches):
    model, data = make(encoder, **switches), multi_view_batch(2)
    visible_BV, masked_BM = ids_of(data)
    tokens = encoded(model, data)
    hidden = {"clip_BTHWC": inverted(data["clip_BTHWC"], masked_BM), "target_BTHWC": 255 - data["target_BTHWC"]}
    assert torch.equal(encoded(model, data | hidden), tokens)
    assert not torch.equal(
        encoded(model, data | {"clip_BTHWC": inverted(data["clip_BTHWC"], visible_BV[:, :1])}), tokens
    )


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("switches", SWITCHES)
def test_every_parameter_gets_a_gradient(encoder, switches):
    model, data = make(encoder, **switches), multi_view_batch(2)
    model(data)["loss"].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
    if switches["target_view_embedding"] == "learned":
        drawn = model.decoder.view_embed.weight.grad.any(1)
        assert drawn.nonzero()[:, 0].tolist() == [5, 6]
    if switches["position_embedding"] == "learned":
        seen = model.encoder.pos_embed.weight.grad.any(1)
        assert seen.nonzero()[:, 0].tolist() == data["visible_BRV"].unique().tolist()
        assert model.decoder.pos_embed.weight.grad.any(1).all()


@pytest.mark.parametrize("target", ["joint", "video_mae"])
@pytest.mark.parametrize("switches", SWITCHES)
def test_the_loss_is_the_squared_error_of_what_reconstruct_gives_against_the_target_view(switches, target):
    model, data = make(target=target, **switches), multi_view_batch(2)
    prediction, ids = model.reconstruct(data["clip_BTHWC"], data["visible_BRV"][:, 0], data["target_view_B"])
    truth = make_target(target, take(to_cubes(data["target_BTHWC"], GEOMETRY), ids))
    torch.testing.assert_close(model(data)["loss"], (prediction - truth).square().mean())
    torch.testing.assert_close(model.zero_loss(data), truth.square().mean())


def test_all_tokens_are_predicted_in_their_order_or_the_masked_ones_alone():
    data = multi_view_batch(2)
    _, masked_BM = ids_of(data)
    for loss_tokens, expected in (("masked", masked_BM), ("all", torch.arange(GEOMETRY.num_tokens).expand(2, -1))):
        prediction, ids = make(loss_tokens=loss_tokens).reconstruct(data["clip_BTHWC"], data["visible_BRV"][:, 0])
        assert torch.equal(ids, expected)
        assert prediction.shape == (*expected.shape, GEOMETRY.cube_values)


def test_masked_positions_are_predicted_alike_by_both_kinds_of_loss():
    data = multi_view_batch(2)
    masked, ids = make(loss_tokens="masked").reconstruct(data["clip_BTHWC"], data["visible_BRV"][:, 0])
    everything, _ = make(loss_tokens="all").reconstruct(data["clip_BTHWC"], data["visible_BRV"][:, 0])
    torch.testing.assert_close(take(everything, ids), masked)


@pytest.mark.parametrize("loss_tokens", ["masked", "all"])
def test_the_targets_pixels_at_visible_positions_matter_if_all_tokens_do(loss_tokens):
    model, data = make(loss_tokens=loss_tokens), multi_view_batch(2)
    visible_BV, masked_BM = ids_of(data)
    loss = model(data)["loss"]
    elsewhere = model(data | {"target_BTHWC": inverted(data["target_BTHWC"], visible_BV)})["loss"]
    assert (elsewhere == loss) == (loss_tokens == "masked")
    assert model(data | {"target_BTHWC": inverted(data["target_BTHWC"], masked_BM)})["loss"] != loss


@pytest.mark.parametrize("switches", SWITCHES)
def test_the_target_view_changes_the_prediction_if_its_embedding_is_learned_and_only_then(switches):
    model, data = make(**switches), multi_view_batch(2)
    views = (data["target_view_B"], data["target_view_B"] - 1, data["target_view_B"])
    first, other, again = (model.reconstruct(data["clip_BTHWC"], data["visible_BRV"][:, 0], v)[0] for v in views)
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (switches["target_view_embedding"] == "off")
    told = model(data | {"target_view_B": data["target_view_B"] - 1})["loss"]
    assert (told == model(data)["loss"]) == (switches["target_view_embedding"] == "off")


def test_positions_are_fixed_or_learned():
    fixed, learned = make(position_embedding="sinusoid"), make(position_embedding="learned")
    names = set(dict(learned.named_parameters())) - set(dict(fixed.named_parameters()))
    assert names == {"encoder.pos_embed.weight", "decoder.pos_embed.weight"}
    assert set(dict(fixed.named_parameters())) == set(
        dict(build_single_view(config("video_vit_nano", target="video_mae")).named_parameters())
    )
    data = multi_view_batch(2)
    for model in (fixed, learned):
        before = model.encoder.pos_embed.weight.clone()
        model(data)["loss"].backward()
        torch.optim.SGD(model.parameters(), lr=1.0).step()
        assert torch.equal(model.encoder.pos_embed.weight, before) == (model is fixed)


@pytest.mark.parametrize("target", ["joint", "video_mae"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_with_the_input_as_target_it_is_the_single_view_autoencoder(encoder, target):
    single = build_single_view(config(encoder, target=target))
    model = make(encoder, target=target, position_embedding="sinusoid")
    model.load_state_dict(single.state_dict())
    data = multi_view_batch(2, masks=2)
    data["target_BTHWC"], data["target_view_B"] = data["clip_BTHWC"], data["input_view_B"]
    assert model(data) == single(data)
    assert model.zero_loss(data) == single.zero_loss(data)
    shown = data["clip_BTHWC"], data["visible_BRV"][:, 0]
    for ours, theirs in zip(model.reconstruct(*shown), single.reconstruct(*shown), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("switches", SWITCHES)
def test_the_loss_before_training_is_one_plus_the_predictions_own_square(switches):
    model, data = make(**switches), multi_view_batch(4)
    prediction, _ = model.reconstruct(data["clip_BTHWC"], data["visible_BRV"][:, 0], data["target_view_B"])
    own = prediction.square().mean().item()
    assert model(data)["loss"].item() == pytest.approx(1 + own, abs=0.02)
    assert own < 0.1


def test_several_masks_of_a_take_share_its_weight_its_target_and_its_view():
    model, data = make(loss_tokens="all", target_view_embedding="learned"), multi_view_batch(3, masks=2)
    data["weight_B"] = torch.tensor([0.2, 0.5, 0.0])
    losses = []
    for row, mask in product(range(3), range(2)):
        single = {name: value[row : row + 1] for name, value in data.items()}
        losses.append(model(single | {"visible_BRV": single["visible_BRV"][:, mask : mask + 1]})["loss"])
    torch.testing.assert_close(model(data)["loss"], sum(losses) / 2)


@pytest.mark.parametrize("target_view", [-1, 7])
def test_a_view_without_an_embedding_is_refused(target_view):
    model, data = make(target_view_embedding="learned"), multi_view_batch(1)
    with pytest.raises(ValueError, match=rf"target views \[{target_view}\]: target views are 0 to 6"):
        model(data | {"target_view_B": torch.tensor([target_view])})


def test_a_decoder_that_is_told_views_must_be_told_one():
    data = multi_view_batch(1)
    with pytest.raises(ValueError, match="give target_view_B"):
        make(target_view_embedding="learned").reconstruct(data["clip_BTHWC"], data["visible_BRV"][:, 0])


def test_targets_that_are_not_uint8_or_of_another_size_are_refused():
    model, data = make(), multi_view_batch(1)
    with pytest.raises(ValueError, match=r"clips must be uint8 RGB, these are torch\.float32"):
        model(data | {"target_BTHWC": data["target_BTHWC"].float()})
    with pytest.raises(ValueError, match="the geometry asks for"):
        model(data | {"target_BTHWC": data["target_BTHWC"][:, :2]})


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"num_views": 3}, "num_views has no effect on"), ({"num_views": 0}, "num_views=0 must be at least 1")],
)
def test_a_number_of_views_without_effect_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        multi_view_config(**changes)


def test_the_default_is_mauras():
    settings = MultiViewConfig()
    assert (settings.encoder, settings.target, settings.geometry.num_tokens) == ("video_vit_base", "video_mae", 1568)
    assert (settings.decoder_width, settings.decoder_depth) == (384, 4)


def test_a_told_decoder_learns_which_view_is_which_and_an_untold_one_draws_their_mean():
    """One clip and two target views, brighter to the right and to the left: their normalised mean is 0."""
    ramp = torch.linspace(0, 255, GEOMETRY.width).byte().expand(4, 64, 64)[..., None].expand(4, 64, 64, 3)
    data = multi_view_batch(2) | {"target_BTHWC": torch.stack([ramp, ramp.flip(2)])}
    data["clip_BTHWC"] = data["clip_BTHWC"][:1].repeat(2, 1, 1, 1, 1)
    data["visible_BRV"] = data["visible_BRV"][:1].repeat(2, 1, 1)
    losses = {}
    for embedding in ("off", "learned"):
        model = make(target_view_embedding=embedding, loss_tokens="all")
        optimizer = torch.optim.AdamW(model.parameter_groups(0.05), lr=2e-3)
        for _ in range(25):
            optimizer.zero_grad()
            loss = model(data)["loss"]
            loss.backward()
            optimizer.step()
        losses[embedding] = loss.item()
    assert losses["off"] > 0.95
    assert losses["learned"] < 0.5


@pytest.mark.parametrize("switches", SWITCHES)
def test_bf16_weights_give_finite_losses_and_gradients_near_fp32(switches):
    model, data = make(**switches), multi_view_batch(2)
    expected = model(data)["loss"]
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16()
    loss = model(data)["loss"]
    loss.backward()
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=0.01, atol=0)
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_a_step_on_a_gpu_never_waits_for_a_value():
    model, data = make(loss_tokens="all", target_view_embedding="learned"), multi_view_batch(2)
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    with FakeTensorMode():  # tensors without values: reading one on the host is an error
        on_gpu = [{k: torch.empty(v.shape, dtype=v.dtype, device="cuda") for k, v in t.items()} for t in (state, data)]
        assert functional_call(model, on_gpu[0], (on_gpu[1],))["loss"].device.type == "cuda"


def test_activation_checkpointing_changes_no_gradient():
    results = []
    for enabled in (False, True):
        model = make(target_view_embedding="learned", loss_tokens="all", activation_checkpointing=enabled)
        model(multi_view_batch(2))["loss"].backward()
        results.append([parameter.grad for parameter in model.parameters()])
    torch.testing.assert_close(*results, rtol=0, atol=0)
