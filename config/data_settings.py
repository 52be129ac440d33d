"""Where the examples come from, how they are cleaned, and how they are dealt."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from common.tables.cleaning import Cleaning, Decimal, Thousands
from common.tables.remote import name_of
from common.text import NULL_TEXTS
from config.frozen import Frozen, Positive, Seed, Url

IMAGE_BYTES = "image_bytes"  # what the model of images reads
STRANGENESS = "strangeness"  # what it may say of a picture beside its class: above 1 it is none of the classes
IMAGE_GROUP, IMAGE_PATH, IMAGE_HASH, IMAGE_NEAR, IMAGE_HISTOGRAM = "group", "path", "sha256", "near", "histogram"
IMAGE_STATISTICS = ("brightness", "contrast", "saturation", "sharpness", "red", "green", "blue")
IMAGE_HEADER = ("width", "height", "aspect", "file_bytes", "has_exif", "border_red", "border_green", "border_blue")
# what stands beside each picture in the Examples: for the data gate, plain models and drift, not for the network
IMAGE_TEXTS = (IMAGE_GROUP, IMAGE_PATH, IMAGE_HASH, IMAGE_NEAR)
IMAGE_FACTS = (*IMAGE_TEXTS, IMAGE_HISTOGRAM, *IMAGE_STATISTICS, *IMAGE_HEADER)


class DataSettings(Frozen):
    """Where the examples come from and what is to be predicted."""

    source: Path | Url = Field(
        description="File, folder or glob of the examples, relative to the YAML file, or the URL of one file. "
        "`{SPAN}`, `{VERSION}` and `{YYYY}-{MM}-{DD}` pick the newest, as in TFX; `{VAR}/` is run-time state's folder."
    )
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        None, description="Of the file at a URL: another one is refused, and this one is fetched once."
    )
    format: Literal["csv", "parquet", "tfrecord", "images"] = Field(
        "csv", description="How the examples are stored; `images`: a folder of pictures for each class, at any depth."
    )
    label: str = Field(min_length=1, description="Column to predict. With images it need not be given.")
    task: Literal["classification", "regression"] = Field(
        "classification", description="Whether the label is one of `classes` or a number."
    )
    classes: tuple[str, ...] = Field(
        (),
        description="All label values as text, at least two, in the order of the model's probabilities. None with "
        "`task: regression`.",
    )
    positive: str | None = Field(
        None, description="Binary only: the class whose probability is reported. Default: the last of `classes`."
    )
    ignore: tuple[str, ...] = Field((), description="Columns to leave out, such as an id.")
    delimiter: str = Field(",", min_length=1, max_length=1, description="CSV column separator.")
    trim: bool = Field(True, description="Take off the blanks around texts and columns' names.")
    decimal: Decimal = Field(".", description="What stands before a number's fraction.")
    thousands: Thousands | None = Field(None, description="What parts the digits of `1,234,567` in threes.")
    percent: bool = Field(False, description="Read `12.5%` as the number 12.5.")
    null_values: tuple[str, ...] = Field(NULL_TEXTS, description="Texts that mean: missing.")
    spellings: dict[str, dict[str, str]] = Field(
        default_factory=dict, description="By text column: what is written otherwise, as `{Male: male}`."
    )
    label_map: dict[str, str] = Field(
        default_factory=dict, description="Labels that are another class, as `{0: no, 1: yes, 2: yes}`."
    )
    drop_unlabelled: bool = Field(False, description="Leave out rows without a label; else they stop the run.")
    merge_rare_classes: str | None = Field(
        None, description="The class of every label that `classes` does not list; else an unknown one stops the run."
    )

    @model_validator(mode="before")
    @classmethod
    def _label_of_images(cls, values: Any) -> Any:
        """Give the label of images, which stands in no file, a name."""
        is_unnamed = isinstance(values, dict) and values.get("format") == "images" and values.get("label") is None
        return {**values, "label": "label"} if is_unnamed else values

    @model_validator(mode="after")
    def _check(self) -> DataSettings:
        if self.is_regression:
            self._check_no_classes()
        elif len(self.classes) < 2:
            raise ValueError("classes: name at least two, or say task: regression if the label is a number")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"classes: must be distinct, got {', '.join(self.classes)}")
        if self.positive is not None and self.positive not in self.classes:
            raise ValueError(f"positive: should be one of the classes {', '.join(self.classes)}, got {self.positive}")
        if self.positive is not None and len(self.classes) != 2:
            raise ValueError(f"positive: is for two classes only, and there are {len(self.classes)}")
        for key, label in (*((f"label_map.{old}", new) for old, new in self.label_map.items()), *self._merged):
            if label not in self.classes:
                raise ValueError(f"{key}: should be one of the classes {', '.join(self.classes)}, got {label}")
        if isinstance(self.source, str) and self.sha256 is None:
            raise ValueError(f"source: a URL needs data.sha256; local_runner.py init {self.source} writes both")
        if self.decimal == self.thousands:
            raise ValueError(f"thousands: cannot be the same as decimal, got {self.thousands}")
        if self.label in self.ignore:
            raise ValueError(f"ignore: the label {self.label!r} cannot be ignored")
        return self

    def _check_no_classes(self) -> None:
        given = {
            "classes": self.classes,
            "positive": self.positive,
            "label_map": self.label_map,
            "merge_rare_classes": self.merge_rare_classes,
        }
        if named := [key for key, value in given.items() if value]:
            raise ValueError(f"{named[0]}: is for classes, and with task: regression the label is a number")

    @property
    def _merged(self) -> list[tuple[str, str]]:
        return [("merge_rare_classes", self.merge_rare_classes)] if self.merge_rare_classes is not None else []

    def class_of(self, text: str) -> str:
        """Return the class that a label stands for; the empty text is none."""
        label = self.cleaning.of_labels(self.label, self.classes, self.label_map).text(self.label, text)
        is_listed = not label or label in self.classes or self.merge_rare_classes is None
        return label if is_listed else str(self.merge_rare_classes)

    @property
    def source_name(self) -> str:
        """The source without what comes before its name."""
        return self.source.name if isinstance(self.source, Path) else name_of(self.source)

    def without_place(self) -> DataSettings:
        """Return them without the place of the source: nothing that a run does depends on it."""
        return self.model_copy(update={"source": Path(self.source_name)})

    @property
    def cleaning(self) -> Cleaning:
        return Cleaning(self.trim, self.decimal, self.thousands, self.percent, self.null_values, self.spellings)

    @property
    def is_images(self) -> bool:
        return self.format == "images"

    @property
    def is_regression(self) -> bool:
        return self.task == "regression"

    @property
    def is_binary(self) -> bool:
        return len(self.classes) == 2

    @property
    def positive_class(self) -> str:
        return self.positive or self.classes[-1]

    @property
    def positive_index(self) -> int:
        return self.classes.index(self.positive_class)


class SplitSettings(Frozen):
    """How rows are shared out: as a rule by a hash of their content, so that old rows stay put when new ones come."""

    train: Positive = Field(64, description="Hash buckets (weight) of the training split.")
    eval: Positive = Field(16, description="Weight of the split for early stopping, tuning and the decision threshold.")
    test: Positive = Field(20, description="Weight of the split that only the Evaluator's gate reads.")
    group_by: str | None = Field(
        None, description="Column whose rows must stay in one split (a patient, a household). Not a feature."
    )
    seed: Seed | None = Field(None, description="Of the splits alone; without it `seed`.")
    by: Literal["content", "row", "time"] = Field(
        "content",
        description="`content`: equal rows go to one split. `row`: each copy of a row is dealt by itself, for tables "
        "of few different rows. `time`: the past trains, the latest rows test.",
    )
    time: str | None = Field(
        None, description="With `by: time`: the column of numbers or ISO dates that says when. Not a feature."
    )

    @model_validator(mode="after")
    def _check(self) -> SplitSettings:
        if self.group_by and self.by != "content":
            raise ValueError(f"group_by: keeps rows together, and by: {self.by} parts them; leave one of the two out")
        if (self.by == "time") != (self.time is not None):
            raise ValueError("time: names a column for by: time; give both or neither")
        return self

    @property
    def weights(self) -> dict[str, int]:
        return {"train": self.train, "eval": self.eval, "test": self.test}


class ImageSettings(Frozen):
    """Pictures: what is read of them, and what the network sees. Only with `data.format: images`."""

    size: Annotated[int, Field(ge=16, le=512)] = Field(
        64, description="Width and height in pixels that each picture is resized to, in the exported graph."
    )
    augmentation: Literal["none", "shift", "flip"] = Field(
        "flip",
        description="Of training pictures alone: `shift` moves, zooms and brightens them a little, `flip` mirrors them "
        "besides.",
    )
    bad_files: Literal["skip", "refuse"] = Field(
        "skip", description="Files that are broken, cut off, too large or no pictures: leave out and list, or stop."
    )
    group: str | None = Field(
        None,
        description="Pattern (regular expression) on a picture's path below `data.source`; what its first group holds "
        "names pictures that belong together, for `split.group_by: group`.",
    )
    none_of_these: Annotated[float, Field(gt=0.0, le=0.5)] | None = Field(
        None,
        description="Call none of these what lies further from the training pictures than all but this share of the "
        "eval pictures; without it every picture is one of the classes.",
    )

    @field_validator("group")
    @classmethod
    def _check_pattern(cls, pattern: str | None) -> str | None:
        try:
            groups = re.compile(pattern).groups if pattern else 1
        except re.error as error:
            raise ValueError(f"group: {pattern!r} is no regular expression: {error}") from None
        if groups != 1:
            raise ValueError(f"group: should hold one pair of brackets, as in '^(.+)_', got {pattern}")
        return pattern
