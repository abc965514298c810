"""A whole experiment as YAML, and files with such text in the working directory."""

from pathlib import Path

WHOLE = """
corpora:
  ravdess:
protocol: paper_random
features: {name: picture, height: 64}
augment:
  mixup:
  image_transforms: {max_rotate: 3.0}
model: {name: timm_backbone, backbone: resnet18, weights: none}
fit:
  stages:
    main: {epochs: 3, lr: 1e-3}
    late: {epochs: 2}
"""


def written(name: str, text: str) -> str:
    Path(f"{name}.yaml").write_text(text, encoding="utf-8")
    return f"{name}.yaml"
