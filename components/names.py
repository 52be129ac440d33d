"""The names by which a run's parts are known in ML Metadata and under the pipeline's root, free of TensorFlow."""

from __future__ import annotations

# Component ids
EXAMPLE_GEN = "FileBasedExampleGen"
STATISTICS_GEN = "StatisticsGen"  # TFX's
DATA_GATE = "DataGate"
TRAINER = "Trainer"
BLESSED_MODEL = "LatestBlessedModel"
PROBE = "ServingProbe"
PUSHER = "AtomicPusher"
REPORT = "RunReport"

# Outputs of components, of which others know by key
EXAMPLES = "examples"
STATISTICS = "statistics"
VERDICT = "verdict"
PUSHED_MODEL = "pushed_model"
PUSHED, VERSION, IS_NEW = "pushed", "version", "is_new"  # what it says: integers, of which two are yes or no
REPORT_FILES = "report"

# Artifact types of our own
VERDICT_TYPE = "Verdict"
REPORT_TYPE = "Report"

# Beside the splits of examples that were dealt by time: when the test split begins, a number
TEST_FROM = "test_from"

# Beside the splits of pictures: what reading noticed of their folder
PICTURES_SEEN = "pictures.json"

# On examples: how many of them are made up, and so never dealt to test
SYNTHETIC_ROWS = "synthetic_rows"

# Files of a report
HTML, JSON, XLSX, PNG, CARD = "report.html", "report.json", "report.xlsx", "report.png", "model_card.md"
SETTINGS = "settings.yaml"
SCORES = "scores.json"  # beside the evaluation: what the model said of the test rows
EVALUATION_VERDICT = "evaluation"  # its folder in a report, so that explaining needs no TensorFlow
DATA_VERDICT = "data_gate"  # its folder among a run's logs, if it stopped the run
