"""The scorers' networks with random weights, saved as the published ones are; no socket is opened for them."""

import functools
import json
import socket
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from pyiqa.archs import maniqa_arch
from pyiqa.default_model_configs import DEFAULT_CONFIGS
from safetensors.torch import save_file
from torchvision.transforms.functional import to_tensor
from transformers import CLIPConfig, CLIPModel

# MANIQA with a width of 48 instead of 768. A crop takes a fiftieth of the time.
NARROW = {"embed_dim": 48, "dim_mlp": 48}
CONTEXT_LENGTH = 16
CLIP_IMAGE_SIZE = 32


def block_sockets(patch: pytest.MonkeyPatch) -> list[str]:
    """Make every attempt to reach a network fail; they are noted in the list that is returned."""
    attempts = []

    def refuse(*arguments, **_):
        attempts.append(repr(arguments[-1]))
        raise ConnectionRefusedError("A test wanted to open a connection.")

    for name in ("connect", "connect_ex"):
        patch.setattr(socket.socket, name, refuse)
    patch.setattr(socket, "create_connection", refuse)
    patch.setattr(socket, "getaddrinfo", refuse)
    return attempts


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture of noise, which is coarse enough to outlast being resized."""
    generator = np.random.default_rng(seed)
    grid = generator.integers(0, 256, (-(-height // 4), -(-width // 4), 3), dtype=np.uint8)
    return Image.fromarray(grid.repeat(4, axis=0).repeat(4, axis=1)[:height, :width].copy())


def make_maniqa(seed: int = 0, **options) -> maniqa_arch.MANIQA:
    """pyiqa's own network with random weights, in eval mode.

    Args:
        seed: Of the weights.
        options: What pyiqa's class takes beside its defaults.
    """
    torch.manual_seed(seed)
    with pytest.MonkeyPatch.context() as patch:
        # Whatever it is told, MANIQA asks timm for pretrained weights.
        patch.setattr(timm, "create_model", functools.partial(_create_model, timm.create_model))
        network = maniqa_arch.MANIQA(pretrained=False, scale=0.8, **options).eval()
    with torch.no_grad():
        # As new, all patches get about the same score, half of them one that the last ReLU sets to 0, and the same
        # weight: whether the crops are pooled rightly could not be seen.
        network.fc_score[3].bias.fill_(0.5)
        network.fc_score[3].weight *= 5
        network.fc_weight[3].weight *= 100
    return network


def narrow_maniqa(patch: pytest.MonkeyPatch) -> None:
    """Make all that builds MANIQA, in pyiqa and in our package, build it with a width of 48."""
    patch.setattr(timm, "create_model", functools.partial(timm.create_model, embed_dim=48, num_heads=3))
    options = DEFAULT_CONFIGS["maniqa"]["metric_opts"] | NARROW
    patch.setitem(DEFAULT_CONFIGS, "maniqa", DEFAULT_CONFIGS["maniqa"] | {"metric_opts": options})


def _create_model(create_model, name: str, pretrained: bool = False, **options):
    return create_model(name, pretrained=False, **options)


@torch.inference_mode()
def published_score(network: maniqa_arch.MANIQA, image: Image.Image, num_crops: int) -> float:
    """MANIQA's score of a picture by pyiqa alone."""
    network.test_sample = num_crops
    return float(network(to_tensor(image)[None]))


def save_clip(folder: Path, quick_gelu: bool = True, seed: int = 0) -> CLIPModel:
    """Make CLIP in transformers with random weights, and save them in `folder` as open_clip does.

    Returns:
        The model of transformers.
    """
    config = CLIPConfig(
        projection_dim=24,
        text_config={
            "vocab_size": 49408,  # that of open_clip's tokenizer
            "eos_token_id": 49407,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "max_position_embeddings": CONTEXT_LENGTH,
            "hidden_act": "quick_gelu" if quick_gelu else "gelu",
        },
        vision_config={
            "hidden_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "intermediate_size": 96,
            "image_size": CLIP_IMAGE_SIZE,
            "patch_size": 8,
            "hidden_act": "quick_gelu" if quick_gelu else "gelu",
        },
    )
    torch.manual_seed(seed)
    model = CLIPModel(config).eval()
    for name, parameter in model.named_parameters():
        # As new, biases are 0 and the rest is so small that every picture would have nearly the same embedding.
        is_scale = "norm" in name and name.endswith("weight")
        torch.nn.init.normal_(parameter, mean=float(is_scale), std=0.3 if parameter.ndim > 1 else 0.05)
    folder.mkdir(parents=True)
    save_file(_open_clip_state(model), folder / "open_clip_model.safetensors")
    model_config = {
        "embed_dim": 24,
        "quick_gelu": quick_gelu,
        "vision_cfg": {
            "image_size": CLIP_IMAGE_SIZE,
            "patch_size": 8,
            "width": 48,
            "head_width": 16,
            "layers": 2,
            "mlp_ratio": 2.0,
        },
        "text_cfg": {
            "context_length": CONTEXT_LENGTH,
            "vocab_size": 49408,
            "width": 32,
            "heads": 4,
            "layers": 2,
            "mlp_ratio": 2.0,
        },
    }
    saved = {"model_cfg": model_config, "preprocess_cfg": {"mean": [0.5, 0.45, 0.4], "std": [0.25, 0.3, 0.35]}}
    (folder / "open_clip_config.json").write_text(json.dumps(saved))
    return model


def _open_clip_state(model: CLIPModel) -> dict[str, torch.Tensor]:
    """The weights of transformers' CLIP under the names that they have in open_clip."""
    theirs = model.state_dict()
    ours = {
        "logit_scale": theirs["logit_scale"],
        "text_projection": theirs["text_projection.weight"].T,
        "token_embedding.weight": theirs["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": theirs["text_model.embeddings.position_embedding.weight"],
        "ln_final.weight": theirs["text_model.final_layer_norm.weight"],
        "ln_final.bias": theirs["text_model.final_layer_norm.bias"],
        "visual.proj": theirs["visual_projection.weight"].T,
        "visual.class_embedding": theirs["vision_model.embeddings.class_embedding"],
        "visual.positional_embedding": theirs["vision_model.embeddings.position_embedding.weight"],
        "visual.conv1.weight": theirs["vision_model.embeddings.patch_embedding.weight"],
    }
    for part in ("weight", "bias"):
        ours[f"visual.ln_pre.{part}"] = theirs[f"vision_model.pre_layrnorm.{part}"]
        ours[f"visual.ln_post.{part}"] = theirs[f"vision_model.post_layernorm.{part}"]
        for tower, prefix in (("text_model", ""), ("vision_model", "visual.")):
            for layer in range(2):
                there, here = f"{tower}.encoder.layers.{layer}", f"{prefix}transformer.resblocks.{layer}"
                ours[f"{here}.attn.in_proj_{part}"] = torch.cat(
                    [theirs[f"{there}.self_attn.{name}_proj.{part}"] for name in "qkv"]
                )
                for name, theirs_name in {
                    "attn.out_proj": "self_attn.out_proj",
                    "ln_1": "layer_norm1",
                    "ln_2": "layer_norm2",
                    "mlp.c_fc": "mlp.fc1",
                    "mlp.c_proj": "mlp.fc2",
                }.items():
                    ours[f"{here}.{name}.{part}"] = theirs[f"{there}.{theirs_name}.{part}"]
    return {name: tensor.contiguous().clone() for name, tensor in ours.items()}


class Trap:
    """Pickled, it creates a file on being unpickled."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def save_trap(path: Path) -> Path:
    """Save what looks like a checkpoint, with code in it.

    Returns:
        The file that will be there if the code has run.
    """
    sprung = path.with_name("sprung")
    torch.save({"weight": torch.zeros(2), "trap": Trap(sprung)}, path)
    torch.load(path, weights_only=False)
    assert sprung.exists()  # The trap works.
    sprung.unlink()
    return sprung
