"""Turn raw columns into what the network reads. Imported by TFX Transform by path; fitted on the train split only."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform.saved.saved_transform_io_v2 import SavedModelLoader

from common.tables.cleaning import Cleaning
from common.tables.dates import EXAMPLES, FIRST_SHORT, GROUPS, MONTHS, PATTERNS, Order
from components.features.derived import derive
from config.schema import Feature

NUMERIC = "numeric"
CATEGORICAL = "categorical"
PIXELS = "pixels"
DATE_PARTS = 4  # that a date becomes
VOCABULARY = "vocabulary_{}"  # the file of a column of `categorical`, by its number
_BLANKS = r"[\s\v\p{Z}\x{85}\x1c-\x1f]+"  # as Python's strip has them
_BLANKS_AROUND = rf"^{_BLANKS}|{_BLANKS}$"
Tensors = dict[str, Any]  # name: tf.Tensor or tf.SparseTensor


def preprocessing_fn(inputs: Tensors, custom_config: dict[str, Any]) -> Tensors:
    """Return `numeric [batch, n] float32`, z-scored, and `categorical [batch, k] int64`, vocabulary ids.

    Columns stand in the order of their names, and vocabularies are numbered: a name may hold any letter.
    All numbers travel packed, through one analyzer, because Beam fits an analyzer for each column much more slowly.
    A missing number becomes the train mean, hence 0, and each
    optional number adds a column that says whether it was missing. An unseen or missing category gets the id one
    past its vocabulary. A date is four numbers behind the others: year, month, weekday and days.

    `custom_config`: `left_out` (columns that are not features), `codes` (integers that are categories), `dates`
    (columns with the order of their parts), `derived` (expressions by name: their values stand behind all other
    numbers), `cleaning` (what is done to texts and numbers before, so that who asks the model without any door of ours
    gets the same answer) and `vocabulary_size`.
    """
    features = {name: inputs[name] for name in sorted(inputs) if name not in custom_config["left_out"]}
    codes, dates = set(custom_config["codes"]), custom_config["dates"]
    cleaning = Cleaning(**custom_config["cleaning"])

    def number_of(name: str) -> tf.Tensor:
        return numbers_of(inputs[name], cleaning)

    def text_of(name: str) -> tf.Tensor:
        return texts_of(inputs[name], name, cleaning)

    texts = [n for n, x in features.items() if (x.dtype == tf.string or n in codes) and n not in dates]
    numbers = [n for n in features if n not in texts and n not in dates]
    parts = {n: date_parts(text_of(n), dates[n]) for n in features if n in dates}
    derived = derive(custom_config["derived"], number_of, text_of)
    outputs = {}
    if columns := [*map(number_of, numbers), *(x for of_date in parts.values() for x in of_date), *derived.values()]:
        first = {name: len(numbers) + 4 * index for index, name in enumerate(parts)}
        places = {name: index for index, name in enumerate(numbers)} | first
        optional = [place for name, place in places.items() if isinstance(features[name], tf.SparseTensor)]
        outputs[NUMERIC] = _z_scores(tf.stack(columns, axis=1), optional)
    if texts:
        ids = [
            tft.compute_and_apply_vocabulary(
                _escaped(text_of(name)),
                top_k=custom_config["vocabulary_size"],
                num_oov_buckets=1,
                vocab_filename=VOCABULARY.format(number),
            )
            for number, name in enumerate(texts)
        ]
        outputs[CATEGORICAL] = tf.stack(ids, axis=1)
    return outputs


def input_names(
    features: Sequence[Feature], dates: Container[str], derived: Iterable[str], optional: Container[str]
) -> list[tuple[str, str]]:
    """Return of each of the network's inputs, `numeric` and then `categorical`, whose it is and which part of it.

    `optional`: the columns that may be missing.
    """
    ordered = sorted(features, key=lambda feature: feature.name)
    of_dates = [feature.name for feature in ordered if feature.name in dates]
    others = [feature for feature in ordered if feature.name not in dates]
    numbers = [feature.name for feature in others if feature.kind == "numeric"]
    return [
        *((name, "value") for name in numbers),
        *((name, part) for name in of_dates for part in ("year", "month", "weekday", "days")),
        *((name, "value") for name in sorted(derived)),
        *((name, "missing") for name in (*numbers, *of_dates) if name in optional),
        *((feature.name, "category") for feature in others if feature.kind == "categorical"),
    ]


def vocabulary_sizes(transform_output: Any, columns: int) -> tuple[int, ...]:
    """Return the size of the vocabulary of each column of `categorical`, out-of-vocabulary id not counted."""
    return tuple(transform_output.vocabulary_size_by_name(VOCABULARY.format(number)) for number in range(columns))


def date_parts(texts: tf.Tensor, order: Order) -> tuple[tf.Tensor, ...]:
    """Return year, month, weekday (0: Monday) and days of dates, each `[batch] float64`; NaN where there is none.

    The days count from 1970: whatever day they counted from, their z-score were the same.
    """
    for word, number in MONTHS:
        texts = tf.strings.regex_replace(texts, word, number)
    pattern = PATTERNS[order]
    is_date = tf.strings.regex_full_match(texts, pattern)
    texts = tf.where(is_date, texts, EXAMPLES[order])
    year, month, day = (
        tf.strings.to_number(tf.strings.regex_replace(texts, f"^{pattern}$", rf"\{group}"), tf.int64)
        for group in GROUPS[order]
    )
    century = tf.where(year >= FIRST_SHORT, tf.constant(1900, tf.int64), tf.constant(2000, tf.int64))
    year = tf.where(year < 100, year + century, year)
    is_date = is_date & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    # years begin in March, so that the leap day is the last one
    from_march, march_year = (month + 9) % 12, year - tf.cast(month <= 2, tf.int64)
    days = 365 * march_year + march_year // 4 - march_year // 100 + march_year // 400
    days += (153 * from_march + 2) // 5 + day - 1 - 719_468
    nan = tf.constant(float("nan"), tf.float64)
    return tuple(tf.where(is_date, tf.cast(x, tf.float64), nan) for x in (year, month, (days + 3) % 7, days))


def _z_scores(packed: tf.Tensor, optional: list[int]) -> tf.Tensor:
    # mean and var pass over NaN, so missing values do not shift them. Beam adds up batches in an order of its own: in
    # single precision the last bits would change from run to run, and with them the trained model
    mean = tft.mean(packed, reduce_instance_dims=False)
    deviation = tf.sqrt(tft.var(packed, reduce_instance_dims=False))
    # a constant column says nothing: 0, not infinity. Rounded only now: seconds since 1970 would lose their last digits
    scores = tf.cast(tf.math.divide_no_nan(packed - mean, deviation), tf.float32)
    missing = tf.math.is_nan(packed)
    scores = tf.where(missing, tf.zeros_like(scores), scores)
    if not optional:
        return scores
    return tf.concat([scores, tf.cast(tf.gather(missing, optional, axis=1), tf.float32)], axis=1)


def numbers_of(x: Any, cleaning: Cleaning) -> tf.Tensor:
    """Return a parsed column as `[batch] float64`, NaN where missing or where it says so, such as by -999."""
    if isinstance(x, tf.SparseTensor):
        x = tf.SparseTensor(x.indices, tf.cast(x.values, tf.float64), x.dense_shape)
        x = _one_column(x, tf.constant(float("nan"), tf.float64))
    numbers = tf.reshape(tf.cast(x, tf.float64), [-1])
    for null in cleaning.null_numbers:
        is_null = tf.equal(tf.cast(numbers, tf.float32), tf.constant(null, tf.float32))
        numbers = tf.where(is_null, tf.constant(float("nan"), tf.float64), numbers)
    return numbers


def texts_of(x: Any, name: str, cleaning: Cleaning) -> tf.Tensor:
    """Return a parsed column as `[batch] string`, as `cleaning` has the texts of a column, empty where missing."""
    if isinstance(x, tf.SparseTensor):
        values = x.values if x.dtype == tf.string else tf.as_string(x.values)
        x = _one_column(tf.SparseTensor(x.indices, values, x.dense_shape), "")
    elif x.dtype != tf.string:
        x = tf.as_string(x)
    x = tf.reshape(x, [-1])
    x = tf.strings.regex_replace(x, _BLANKS_AROUND, "") if cleaning.trim else x
    written = x
    for old, new in cleaning.spellings.get(name, {}).items():
        written = tf.where(tf.equal(x, old), new, written)
    is_null = tf.reduce_any(tf.equal(written[:, tf.newaxis], tf.constant([[*cleaning.null_values, ""]])), axis=1)
    return tf.where(is_null, "", written)


def _escaped(texts: tf.Tensor) -> tf.Tensor:
    """Return texts without line breaks, for a vocabulary is a file of lines."""
    for letter, escaped in (("\\\\", r"\\\\"), ("\n", r"\\n"), ("\r", r"\\r")):
        texts = tf.strings.regex_replace(texts, letter, escaped)
    return texts


def _one_column(x: tf.SparseTensor, default: Any) -> tf.Tensor:
    # a batch in which nobody has a value comes with no columns at all
    shape = [x.dense_shape[0], 1]
    return tf.sparse.to_dense(tf.SparseTensor(x.indices, x.values, shape), default)


class TransformGraph(tf.Module):
    """Turn parsed raw columns into the network's inputs.

    `TFTransformOutput.transform_features_layer()` does the same as a Keras 2 model, whose call autograph converts
    for about six seconds.
    """

    def __init__(self, transform_output: Any) -> None:
        super().__init__(name="transform_graph")
        self._apply = SavedModelLoader(transform_output.transform_savedmodel_dir)
        # the loader is no module: its attributes are what an export has to track, vocabularies among them
        self.tracked = self._apply.__dict__

    @tf.autograph.experimental.do_not_convert
    def __call__(self, raw: dict[str, Any]) -> dict[str, tf.Tensor]:
        """Return `numeric` and `categorical`, as far as there are such columns, or `pixels` as bytes."""
        transformed = self._apply.apply_transform_model(raw)
        if PIXELS in transformed:
            return {PIXELS: tf.cast(transformed[PIXELS], tf.uint8)}
        return {key: transformed[key] for key in (NUMERIC, CATEGORICAL) if key in transformed}
