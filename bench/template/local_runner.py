"""Run the template's graph on this machine.

Run: `python -m bench.template.local_runner SETTINGS.json OUT`; `bench.pipeline` writes the settings.

What differs from the templates as published, and why:
- `preprocessing_fn` and `run_fn` are import paths, as in the templates (the penguin *example* has `module_file`, which
  would make a wheel and install it with pip for each component: slower).
- Features, label and network come from the settings through `custom_config` instead of constants.
- Steps that the templates leave commented out are switched on, and the evaluator reads a test split of its own.
- Trainer trains epochs of `train_steps` steps each, where the templates train one.
- Keras is imported as `keras`: Transform sets TF_USE_LEGACY_KERAS, so that `tf.keras` is version 2 or 3 by the order of
  imports. Saving is the taxi template's; the penguin template's `save_format="tf"` is gone from Keras 3.
- BEAM_ARGS, see there.
"""

from __future__ import annotations

import csv
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

from absl import logging
from tfx import v1 as tfx

from bench.template import model, pipeline

# The templates pass none, and Beam then runs in memory. From 2.70 on Beam would try to fetch another runner from the
# network first, so in-memory is said; and because any argument at all makes TFX build a source package for each
# component, an image is named, which the in-memory runner does not use. So this is what no arguments used to mean.
BEAM_ARGS = ["--direct_running_mode=in_memory", "--sdk_container_image=unused"]


def run(settings: dict[str, Any], out: Path) -> None:
    """Run every component on the CSV that the settings name, with all output under `out`."""
    data, split = settings["data"], settings["split"]
    data_path = out / "data"  # CsvExampleGen takes a folder
    data_path.mkdir(parents=True)
    os.symlink(data["source"], data_path / "data.csv")
    with open(data["source"], newline="", encoding="utf-8") as file:
        reader = csv.reader(file, delimiter=data["delimiter"])
        header, rows = next(reader), sum(1 for _ in reader)
    total = split["train"] + split["eval"] + split["test"]
    custom_config = {
        "features": [name for name in header if name not in (data["label"], *data["ignore"])],
        "label": data["label"],
        "positive": data["positive"],
        "model": settings["model"],
    }
    tfx.orchestration.LocalDagRunner().run(
        pipeline.create_pipeline(
            pipeline_name=settings["name"],
            pipeline_root=str(out / "tfx_pipeline_output"),
            data_path=str(data_path),
            schema_path=settings["schema"],
            split=split,
            custom_config=custom_config,
            train_steps=math.ceil(rows * split["train"] / total / settings["model"]["batch_size"]),
            eval_steps=math.ceil(rows * split["eval"] / total / model.EVAL_BATCH_SIZE),
            thresholds={"AUC": 0.9, "BinaryAccuracy": 0.8},
            serving_model_dir=str(out / "serving_model"),
            metadata_path=str(out / "tfx_metadata" / "metadata.db"),
            beam_pipeline_args=BEAM_ARGS,
        )
    )


if __name__ == "__main__":
    logging.set_verbosity(logging.INFO)
    run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
