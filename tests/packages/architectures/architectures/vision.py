"""Image models of transformers: a factory makes the configuration, nothing else is needed."""

import torch
from transformers import (
    MobileNetV2Config,
    MobileNetV2ForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)


def vit():
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "image_size": 32, "patch_size": 8}
    config = ViTConfig(**sizes, num_hidden_layers=1, num_attention_heads=4, num_labels=10)
    return ViTForImageClassification(config)


def resnet():
    torch.manual_seed(0)
    sizes = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1]}
    return ResNetForImageClassification(ResNetConfig(**sizes, layer_type="basic", num_labels=10))


def mobilenet():
    torch.manual_seed(0)
    config = MobileNetV2Config(depth_multiplier=0.25, image_size=64, num_labels=10)
    return MobileNetV2ForImageClassification(config)
