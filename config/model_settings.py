"""Which network is trained, and how."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from config.frozen import Frozen, Positive, Seed

WEIGHTS = {  # beside a path: what each kind of network can start from
    "dense": ("none",),
    "cnn": ("none",),
    "mobilenet_v2": ("none",),
    "efficientnet_lite0": ("none", "imagenet"),
}


class ModelSettings(Frozen):
    """Architecture and training of the network."""

    kind: Literal["dense", "cnn", "mobilenet_v2", "efficientnet_lite0"] = Field(
        "dense", description="Architecture: `dense` for tables, each other one for images."
    )
    weights: str = Field(
        "none",
        min_length=1,
        description="What training starts from: `none` (at random), `imagenet` (efficientnet_lite0 alone; see "
        "docs/images.md), or, but for cnn, the path of a file `.weights.h5` or `.npz`, relative to the YAML file.",
    )
    fine_tune_epochs: Annotated[int, Field(ge=0)] = Field(
        0,
        description="With weights: after `epochs` of the head alone, so many of the whole network at a tenth of the "
        "learning rate.",
    )
    hidden_units: tuple[Positive, ...] = Field((256, 128, 64, 32), min_length=1, description="Width of each layer.")
    activation: Literal["relu", "gelu", "selu", "tanh", "elu", "silu"] = Field("relu", description="Of hidden layers.")
    batch_normalization: bool = Field(True, description="Normalize each hidden layer's output over the batch.")
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(0.3, description="Share of units dropped in training.")
    l2: Annotated[float, Field(ge=0.0)] = Field(0.0, description="L2 penalty on the kernels.")
    kernel_initializer: str = Field("glorot_uniform", description="Keras name of the initializer.")
    label_smoothing: Annotated[float, Field(ge=0.0, lt=0.5)] = Field(0.0, description="Of the cross-entropy.")
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adam", description="Keras optimizer.")
    learning_rate: Annotated[float, Field(gt=0.0)] = Field(1e-4, description="Initial learning rate.")
    learning_rate_schedule: Literal["constant", "cosine", "one_cycle"] = Field(
        "constant",
        description="`cosine` decays to zero over all epochs; `one_cycle` first climbs to ten times the rate for 30 % "
        "of them.",
    )
    epochs: Positive = Field(100, description="Passes over the training split, at most.")
    batch_size: Positive = Field(32, description="Examples a training step.")
    early_stopping_patience: Annotated[int, Field(ge=0)] = Field(
        20, description="Epochs without a better eval loss before stopping; the best weights are kept. 0: never stop."
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="`balanced` weighs rare classes up; what that adds to their probabilities is taken back."
    )
    loss: Literal["squared", "huber"] = Field(
        "squared",
        description="Regression only, of the label in standard deviations: `huber` counts errors beyond one of them "
        "linearly, so that outliers weigh less.",
    )
    interval: Annotated[float, Field(ge=0.5, lt=1.0)] = Field(
        0.9, description="Regression only: the share of true values that prediction intervals are made to hold."
    )
    steps_per_execution: Positive = Field(64, description="Training steps in one call into the graph; speed only.")
    in_memory_limit_mb: Positive = Field(
        1024, description="Transformed examples up to this size are trained from memory, larger ones streamed."
    )
    seed: Seed | None = Field(
        None, description="Of initial weights, shuffling and tuning alone; without it `seed`. It deals no row anew."
    )

    @model_validator(mode="after")
    def _check(self) -> ModelSettings:
        named = WEIGHTS[self.kind]
        if self.weights not in named and not (self.weights_file and self.takes_path):
            allowed = " or ".join([*named, *(["a path"] if self.takes_path else [])])
            raise ValueError(f"weights: {self.kind} starts from {allowed}, got {self.weights}")
        if self.fine_tune_epochs and self.weights == "none":
            raise ValueError("fine_tune_epochs: is for a network with weights; train longer by epochs")
        return self

    @property
    def takes_path(self) -> bool:
        """Whether weights of a file fit the network."""
        return self.kind in ("mobilenet_v2", "efficientnet_lite0")

    @property
    def weights_file(self) -> Path | None:
        """The file of weights, if they come from one that somebody named."""
        return None if self.weights in ("none", "imagenet") else Path(self.weights)


class TunerSettings(Frozen):
    """KerasTuner's search; off unless asked for."""

    enabled: bool = Field(False, description="Search before training; the best values are what Trainer trains.")
    trials: Positive = Field(5, description="Combinations tried.")
    epochs: Positive = Field(20, description="Epochs of each trial.")
    learning_rate: tuple[Annotated[float, Field(gt=0.0)], ...] = Field(
        (1e-4, 3e-4, 1e-3), min_length=1, description="Candidates."
    )
    dropout: tuple[Annotated[float, Field(ge=0.0, lt=1.0)], ...] = Field(
        (0.1, 0.3, 0.5), min_length=1, description="Candidates."
    )
    hidden_units: tuple[Annotated[tuple[Positive, ...], Field(min_length=1)], ...] = Field(
        ((256, 128, 64, 32), (128, 64), (64, 32)), min_length=1, description="Candidate architectures."
    )
