"""The image ViT and its masked autoencoder, against Hugging Face's ViTMAE and timm's ViT with the same weights."""

from __future__ import annotations

import re
from dataclasses import asdict

import pytest
import timm
import torch
from timm.layers import build_sincos2d_pos_embed
from timm.models.vision_transformer import VisionTransformer
from timm.optim import param_groups_layer_decay
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from transformers import ViTMAEConfig, ViTMAEForPreTraining
from transformers.models.vit_mae.modeling_vit_mae import build_2d_sinusoidal_position_embedding

from models import fine_tuning
from models.config import FineTuningConfig
from models.cubes import from_cubes, normalize_pixels, put, take, to_cubes
from models.foreign_mae import from_mae
from models.masked_autoencoder import MaskedAutoencoder, build, masked_ids
from models.parameters import layer_decay_groups
from models.positions import image_sinusoids
from models.registry import create_encoder
from models.targets import make_target
from models.tokens import ClipGeometry
from models.weights import export_weights, load_encoder, load_masked_autoencoder
from tests.models.samples import CLASSES, IMAGE, clips, image_batch, image_config, labelled_batch
from tests.models.test_initialisation import check_complete, fill_with_nan

WIDE = ClipGeometry(frames=1, height=64, width=96, tubelet=1)
RENAMED = (
    (r"vit\.embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
    (r"vit\.embeddings\.position_embeddings", "pos_embed"),
    (r"vit\.embeddings\.", ""),
    (r"vit\.layers", "blocks"),
    (r"vit\.layernorm", "norm"),
    (r"decoder\.decoder_layers", "decoder_blocks"),
    (r"decoder\.", ""),
    ("layernorm_before", "norm1"),
    ("layernorm_after", "norm2"),
    (r"attention\.o_proj", "attn.proj"),
)


def peer(*, norm_pix_loss: bool = True) -> ViTMAEForPreTraining:
    """Hugging Face's ViTMAE in the size of the small image autoencoder, masking half, with weights that leave no bias
    and no norm at a neutral value."""
    torch.manual_seed(0)
    config = ViTMAEConfig(
        image_size=64,
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=512,
        decoder_hidden_size=32,
        decoder_num_hidden_layers=2,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=128,
        layer_norm_eps=1e-6,
        mask_ratio=0.5,
        norm_pix_loss=norm_pix_loss,
        attn_implementation="sdpa",
    )
    theirs = ViTMAEForPreTraining(config).eval()
    for parameter in theirs.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, mean=0.02, std=0.05)
    for position_1ND in (theirs.vit.embeddings.position_embeddings, theirs.decoder.decoder_pos_embed):
        table_ND = build_2d_sinusoidal_position_embedding(4, 4, position_1ND.shape[2], cls_token=True)
        # Theirs has the row first; the weights of MAE, they say, have the column first.
        position_1ND.data[0] = torch.cat(table_ND.chunk(2, dim=1)[::-1], dim=1)
    return theirs


def mae_names(theirs: ViTMAEForPreTraining) -> dict[str, Tensor]:
    """Its weights as the files of MAE name them."""
    state = {}
    for name, value in theirs.state_dict().items():
        for pattern, renamed in RENAMED:
            name = re.sub(pattern, renamed, name)
        state[name] = value
    for name in [name for name in state if "q_proj" in name]:
        parts = [state.pop(name.replace("q_proj", f"{part}_proj")) for part in "qkv"]
        state[name.replace("attention.q_proj", "attn.qkv")] = torch.cat(parts)
    return state


def noise(visible_BV: Tensor) -> Tensor:
    """What makes ViTMAE show these tokens, in ascending order."""
    rank_N = torch.arange(IMAGE.num_tokens) / 1000
    return (1 + rank_N).repeat(len(visible_BV), 1).scatter(1, visible_BV, rank_N[visible_BV])


def channels_first(clip_BTHWC: Tensor) -> Tensor:
    return clip_BTHWC[:, 0].permute(0, 3, 1, 2)


def make(**changes) -> MaskedAutoencoder:
    torch.manual_seed(0)
    return build(image_config(**changes))


def test_the_encoder_agrees_with_hugging_face_on_class_token_and_visible_patches():
    theirs, ours = peer().double(), make().double()
    ours.load_state_dict(from_mae(mae_names(theirs)))
    data = image_batch(3)
    pixels, visible = normalize_pixels(data["clip_BTHWC"].double() / 255), data["visible_BRV"][:, 0].long()
    expected = theirs.vit(channels_first(pixels), noise=noise(visible)).last_hidden_state
    tokens = ours.encoder.forward_features(pixels, visible)
    assert tokens.shape == (3, 1 + 8, 128)
    torch.testing.assert_close(tokens, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("target", "norm_pix_loss"), [("image_mae", True), ("pixels", False)])
def test_predictions_and_loss_agree_with_hugging_face(target, norm_pix_loss):
    theirs, ours = peer(norm_pix_loss=norm_pix_loss).double(), make(target=target).double()
    ours.load_state_dict(from_mae(mae_names(theirs)))
    data = image_batch(3)
    visible = data["visible_BRV"][:, 0].long()
    pixels = normalize_pixels(data["clip_BTHWC"])  # float32, as the loss of ours is
    expected = theirs(channels_first(pixels).double(), noise=noise(visible))
    masked = masked_ids(visible, IMAGE.num_tokens)
    tokens = ours.encoder.forward_features(pixels.double(), visible)
    prediction = ours.decoder(ours.encoder_to_decoder(tokens), visible, masked)
    torch.testing.assert_close(prediction, take(expected.logits, masked), rtol=0, atol=1e-10)
    torch.testing.assert_close(ours(data)["loss"].double(), expected.loss, rtol=1e-6, atol=0)


def test_all_tokens_are_scored_if_the_config_says_so():
    theirs, ours = peer(norm_pix_loss=False), make(target="pixels", loss_tokens="all")
    ours.load_state_dict(from_mae(mae_names(theirs)))
    data = image_batch(3)
    pixels, visible = normalize_pixels(data["clip_BTHWC"]), data["visible_BRV"][:, 0].long()
    expected = theirs(channels_first(pixels), noise=noise(visible)).logits
    prediction, ids = ours.reconstruct(data["clip_BTHWC"], visible)
    assert torch.equal(ids, torch.arange(IMAGE.num_tokens).expand(3, -1))
    torch.testing.assert_close(prediction, expected, rtol=1e-4, atol=1e-5)
    square = (expected - to_cubes(pixels, IMAGE)).square().mean()
    torch.testing.assert_close(ours(data)["loss"], square, rtol=1e-5, atol=0)


def timm_vit(**arguments) -> VisionTransformer:
    """timm's ViT, of which MAE is made, with MAE's positions."""
    torch.manual_seed(1)
    theirs = VisionTransformer(img_size=64, embed_dim=128, depth=4, num_heads=2, **arguments).eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, mean=0.02, std=0.05)
    with torch.no_grad():
        theirs.pos_embed.copy_(torch.cat([torch.zeros(1, 128), image_sinusoids(4, 4, 128)]))
    return theirs


def test_an_encoder_alone_comes_over_and_agrees_with_timms_vit():
    theirs = timm_vit(num_classes=0, global_pool="token").double()
    weights = from_mae(theirs.state_dict() | {"mask_token": torch.zeros(1, 1, 32)})
    ours = create_encoder("face_vit_nano", geometry=IMAGE).double()
    ours.load_state_dict({name.removeprefix("encoder."): value for name, value in weights.items()})
    pixels = normalize_pixels(clips(2, geometry=IMAGE).double() / 255)
    expected = theirs.forward_features(channels_first(pixels))
    torch.testing.assert_close(ours.forward_features(pixels), expected, rtol=0, atol=1e-11)
    torch.testing.assert_close(ours(pixels), expected[:, 1:].mean(1), rtol=0, atol=1e-11)


def test_logits_are_those_of_maes_global_pool():
    theirs = timm_vit(num_classes=7, global_pool="avg").double()
    state = theirs.state_dict()
    top = {name: state.pop(name) for name in list(state) if name.startswith(("fc_norm.", "head."))}
    ours = create_encoder("face_vit_nano", geometry=IMAGE, num_classes=7).double()
    ours.load_state_dict({name.removeprefix("encoder."): value for name, value in from_mae(state).items()} | top)
    pixels = normalize_pixels(clips(2, geometry=IMAGE).double() / 255)
    torch.testing.assert_close(ours(pixels), theirs(channels_first(pixels)), rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fc_norm.weight": torch.ones(128)}, "fc_norm.weight is no name of a pre-trained MAE"),
        ({"encoder.norm.weight": torch.ones(128)}, "encoder.norm.weight is no name of a pre-trained MAE"),
        ({"pos_embed": torch.randn(1, 17, 128)}, "pos_embed is not MAE's table of sines and cosines"),
        ({"decoder_pos_embed": torch.ones(1, 17, 32)}, "decoder_pos_embed is not MAE's table"),
        ({"pos_embed": torch.zeros(1, 16, 128)}, "pos_embed has 16 positions, not those of a square image"),
    ],
)
def test_weights_that_are_not_of_a_pretrained_mae_are_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        from_mae(mae_names(peer()) | change)


def test_weights_that_lack_something_or_are_of_another_size_are_refused_by_name_where_they_are_loaded():
    weights = from_mae(mae_names(peer()))
    less = {name: value for name, value in weights.items() if name != "encoder.blocks.2.attn.qkv.bias"}
    with pytest.raises(ValueError, match=r'Missing key\(s\) in state_dict: "encoder.blocks.2.attn.qkv.bias"'):
        make().start_from(less, {})
    with pytest.raises(ValueError, match="size mismatch for decoder.mask_token"):
        make(decoder_width=64).start_from(weights, {})


def test_positions_are_timms_with_the_column_first_and_rounded_once():
    table = image_sinusoids(4, 6, 128)
    theirs = build_sincos2d_pos_embed([4, 6], 128, reverse_coord=True, interleave_sin_cos=True)
    grid = theirs.reshape(6, 4, 128).transpose(0, 1).reshape(-1, 128)  # timm numbers cells column by column
    torch.testing.assert_close(table, grid, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="width=30 is not a multiple of 4"):
        image_sinusoids(4, 4, 30)


def inverted(clip_BTHWC: Tensor, token_BM: Tensor) -> Tensor:
    cubes_BNK = to_cubes(clip_BTHWC, IMAGE)
    return from_cubes(put(cubes_BNK, token_BM, 255 - take(cubes_BNK, token_BM)), IMAGE)


@pytest.mark.parametrize("loss_tokens", ["masked", "all"])
def test_no_masked_pixel_reaches_a_prediction(loss_tokens):
    model, data = make(loss_tokens=loss_tokens), image_batch(2)
    clip, visible = data["clip_BTHWC"], data["visible_BRV"][:, 0].long()
    prediction, _ = model.reconstruct(clip, visible)
    masked = masked_ids(visible, IMAGE.num_tokens)
    assert torch.equal(model.reconstruct(inverted(clip, masked), visible)[0], prediction)
    assert not torch.equal(model.reconstruct(inverted(clip, visible[:, :1]), visible)[0], prediction)


@pytest.mark.parametrize("target", ["image_mae", "pixels", "video_mae"])
@pytest.mark.parametrize("loss_tokens", ["masked", "all"])
def test_loss_and_zero_loss_are_squared_errors_of_what_reconstruct_gives(target, loss_tokens):
    model, data = make(target=target, loss_tokens=loss_tokens), image_batch(2, masks=2)
    errors, squares = [], []
    for r in range(2):
        prediction, ids = model.reconstruct(data["clip_BTHWC"], data["visible_BRV"][:, r])
        truth = make_target(target, take(to_cubes(data["clip_BTHWC"], IMAGE), ids))
        assert prediction.shape == truth.shape == (2, 16 if loss_tokens == "all" else 8, 768)
        errors.append((prediction - truth).square().mean())
        squares.append(truth.square().mean())
    losses = model(data)
    assert set(losses) == {"loss"}
    torch.testing.assert_close(losses["loss"], sum(errors) / 2)
    torch.testing.assert_close(model.zero_loss(data), sum(squares) / 2)


@pytest.mark.parametrize("changes", [{}, {"loss_tokens": "all"}, {"target": "pixels"}])
def test_every_parameter_gets_a_gradient(changes):
    model = make(**changes)
    model(image_batch(2))["loss"].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.any(), name


def test_init_leaves_nothing_unwritten_and_draws_the_patch_embedding_as_a_matrix():
    classifier = create_encoder("face_vit_nano", geometry=IMAGE, num_classes=7)
    for module in (make(), classifier):
        fill_with_nan(module)
        module.init_weights()
        check_complete(module)
    model = make()
    bound = (6 / (768 + 128)) ** 0.5
    assert model.encoder.patch_embed.weight.abs().max().item() == pytest.approx(bound, rel=0.01)
    assert not model.encoder_to_decoder.bias.any()
    assert 0.01 < model.encoder.class_token.weight.abs().max() <= 0.02


def test_a_step_on_a_gpu_never_waits_for_a_value():
    model, data = make(), image_batch(2)
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    with FakeTensorMode():  # tensors without values: reading one on the host is an error
        on_gpu = [{k: torch.empty(v.shape, dtype=v.dtype, device="cuda") for k, v in t.items()} for t in (state, data)]
        assert functional_call(model, on_gpu[0], (on_gpu[1],))["loss"].device.type == "cuda"


def test_engines_may_cast_the_weights_and_leave_the_buffers():
    model, data = make(activation_checkpointing=True), image_batch(2)
    expected = model(data)["loss"]
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16()
    loss = model(data)["loss"]
    loss.backward()
    torch.testing.assert_close(loss, expected, rtol=0.02, atol=0)
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_the_class_token_is_not_decayed_and_learns_as_slowly_as_the_embedding():
    assert "encoder.class_token.weight" in make().no_weight_decay()
    model = create_encoder("face_vit_nano", geometry=IMAGE, num_classes=7)
    theirs, ours = {}, {}
    for group in param_groups_layer_decay(model, 0.05, no_weight_decay_list=model.no_weight_decay(), layer_decay=0.65):
        theirs |= {id(p): (group["weight_decay"], group["lr_scale"]) for p in group["params"]}
    for group in layer_decay_groups(model, 0.05, layer_decay=0.65):
        ours |= {id(p): (group["weight_decay"], group["lr_scale"]) for p in group["params"]}
    assert ours == {key: pytest.approx(value) for key, value in theirs.items()}
    assert ours[id(model.class_token.weight)] == (0.0, pytest.approx(0.65**5))


@pytest.mark.parametrize("contents", ["encoder", "masked_autoencoder"])
def test_exported_weights_come_back_and_timm_loads_the_encoder(tmp_path, contents):
    model, path = make(loss_tokens="all", target="pixels"), tmp_path / "weights.safetensors"
    export_weights(model.state_dict(), path, config=model.config, contents=contents, provenance={})
    pixels, data = normalize_pixels(clips(2, geometry=IMAGE)), image_batch(2)
    encoder, _ = load_encoder(path)
    assert torch.equal(encoder(pixels), model.encoder(pixels))
    if contents == "masked_autoencoder":
        loaded, _ = load_masked_autoencoder(path)
        assert loaded.config == model.config
        assert loaded(data) == model(data)
    else:
        arguments = {"geometry": IMAGE, "checkpoint_path": str(path)}
        assert torch.equal(timm.create_model("face_vit_nano", **arguments)(pixels), model.encoder(pixels))
        classifier = timm.create_model("face_vit_nano", num_classes=7, **arguments)
        assert torch.equal(classifier.class_token.weight, model.encoder.class_token.weight)


def test_fine_tuning_starts_from_pretraining_at_another_size_and_learns():
    settings = FineTuningConfig("face_vit_nano", WIDE, classes=CLASSES)
    torch.manual_seed(0)
    model, source = fine_tuning.build(settings), make()
    model.start_from(source.state_dict(), {"model": asdict(source.config)})
    assert torch.equal(model.encoder.class_token.weight, source.encoder.class_token.weight)
    assert torch.equal(model.encoder.pos_embed.weight, image_sinusoids(4, 6, 128))
    data = labelled_batch(4, repeats=2, geometry=WIDE)
    model(data)["loss"].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.any(), name
    assert model.eval().predict(data["clip_BRTHWC"][:, 0]).shape == (4, 3)


def test_several_frames_are_refused_with_what_to_do():
    video = ClipGeometry(frames=4, height=64, width=64)
    for attempt in (lambda: image_config(geometry=video), lambda: create_encoder("face_vit_nano", geometry=video)):
        with pytest.raises(ValueError, match=r"reads single images, geometry.frames=4: set geometry.frames and"):
            attempt()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "joint"}, "target=joint splits cubes of 2 frames, .*; take video_mae, image_mae or pixels"),
        ({"decoder_width": 30}, "decoder_width=30 is not a multiple of 4"),
    ],
)
def test_a_decoder_or_target_that_images_cannot_have_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        image_config(**changes)
