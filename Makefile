SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PY := .venv/bin/python
# Twice the cores that CI has: the tests wait for servers and processes during a quarter of their time.
WORKERS ?= 4
IN_WORKERS = -n $(WORKERS) --dist loadfile --no-loadscope-reorder
STARTED := $(shell date +%s)
# Compiled bytecode makes TFX import three times faster, and TensorFlow's notices drown what matters.
unexport PYTHONDONTWRITEBYTECODE
export TF_CPP_MIN_LOG_LEVEL ?= 2
# OpenMP's threads spin while they wait for one another: where others use the cores, a fit takes ten times as long.
export OMP_NUM_THREADS ?= 1

.PHONY: help setup doctor demo test test-all test-fast coverage mutants lint format lock docs mlflow monitor loop weights screenshots bench clean distclean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

setup: ## Make .venv from the locks, or do nothing when it is up to date
	@.ci/setup

doctor: setup ## Say what is wrong with this machine, and the cure
	@$(PY) local_runner.py doctor

# MODEL names a folder in config/ by its name or how that begins, or is `all`; DATA and LABEL name a table of your own and
# its column to predict.
MODEL ?= breast_cancer
NAMED = $(patsubst %/pipeline.yaml,%,$(firstword $(wildcard config/$(MODEL)/pipeline.yaml config/$(MODEL)*/pipeline.yaml)))
EVERY = $(patsubst %/pipeline.yaml,%,$(wildcard config/*/pipeline.yaml))
OWN = $${VOUCH_VAR:-var}/demo
define \n


endef
demo: setup ## Data to a page that predicts; Ctrl-C ends it [MODEL=iris|… | DATA=file.csv LABEL=column] [ONCE=1: ends by itself]
	$(if $(DATA),@rm -rf $(OWN) && $(PY) local_runner.py init "$(DATA)" $(if $(LABEL),--label "$(LABEL)") --out $(OWN))
	$(if $(DATA),,$(if $(filter config/flowers all,$(NAMED) $(MODEL)),@$(PY) data/flowers/draw.py))
	$(foreach config,$(if $(DATA),$(OWN)/*,$(if $(filter all,$(MODEL)),$(EVERY),$(or $(NAMED),config/$(MODEL)))),@$(PY) local_runner.py run $(config)$(\n)	)
	@echo "pushed $$(($$(date +%s) - $(STARTED))) s after the start, set-up included"
	@$(PY) -m serving start --sample 10 --run "$(PY) -m webapp $(if $(ONCE),--once)"

test: setup ## Lint, types and all but the exhaustive tests, side by side, in WORKERS processes (4)
	@$(MAKE) --no-print-directory --jobs 2 lint test-usual

.PHONY: test-usual
test-usual: setup
	$(PY) -m pytest -m "not exhaustive" $(IN_WORKERS)

test-all: $(if $(GROUP),setup,test) ## Every test, or what `make test` leaves out of GROUP="serving webapp …"
	$(PY) -m pytest -m exhaustive $(IN_WORKERS) $(GROUP:%=tests/%)

test-fast: setup ## The tests that need no TensorFlow graph: some two minutes on two cores
	$(PY) -m pytest -m "not slow and not exhaustive" $(IN_WORKERS)

COVERED = serving/release components/pusher components/evaluation components/tasks webapp/auth
coverage: setup ## How much of each room the tests run, by branches; and of the rooms where it should be 95 %
	rm -f .coverage .coverage.*
	$(PY) -m pytest -m "not exhaustive" $(IN_WORKERS) --cov --cov-report=term
	@for room in $(COVERED); do printf '%-24s' $$room; $(PY) -m coverage report --include "$$room/*" | tail -n 1; done

mutants: setup ## Turn each condition of serving/release, and list what no test notices
	$(PY) -m tests.support.mutants serving/release tests/serving/release

lint: setup ## Formatting, lint, types, who may import whom, and what nothing uses
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/lint-imports
	.venv/bin/vulture
	.venv/bin/mypy

format: setup ## Format the code and mend what can be mended
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

COMPILE = .venv/bin/uv pip compile -q --universal --generate-hashes --python-version 3.10 \
  --custom-compile-command "make lock" $(UPGRADE)

lock: setup ## Refresh the locks from pyproject.toml (UPGRADE=--upgrade: newer versions too)
	$(COMPILE) pyproject.toml -o requirements.txt
	$(COMPILE) --group pyproject.toml:mlflow -c requirements.txt -o requirements-mlflow.txt
	$(COMPILE) --group pyproject.toml:dev -c requirements.txt -c requirements-mlflow.txt -o requirements-dev.txt
	$(COMPILE) --group pyproject.toml:web -c requirements.txt -o webapp/requirements.txt
	$(COMPILE) --group pyproject.toml:monitoring -c requirements.txt -o monitoring/requirements.txt

docs: setup ## Write the references of configuration and settings
	$(PY) -m config.reference >docs/.configuration.md
	mv docs/.configuration.md docs/configuration.md
	$(PY) -m webapp.reference >docs/.web-settings.md
	mv docs/.web-settings.md docs/web-settings.md
	$(PY) -m webapp.reference --environment >.env.example

mlflow: setup ## Tell MLflow of runs and releases, and open its page (MLFLOW_PORT=5000); Ctrl-C ends it
	@$(PY) -m serving registry sync || echo "not everything could be told: see above"
	@$(PY) -m serving registry open --port $(or $(MLFLOW_PORT),5000)

monitor: setup ## Prometheus, Alertmanager and a watcher beside a running demo, with the shipped rules (RECEIVER=slack); Ctrl-C ends them
	@$(PY) -m monitoring.stack $(if $(RECEIVER),--receiver $(RECEIVER))

loop: setup ## The closed loop, unattended: drift, alert, retraining, canary, a refusal; some five minutes [MODEL=breast_cancer]
	@$(PY) -m monitoring.loop $(if $(filter command environment,$(firstword $(origin MODEL))),--model $(MODEL))

weights: setup ## Fetch EfficientNet-Lite0's weights of ImageNet (17 MB) into var/weights/, for `model.weights: imagenet`
	@$(PY) -m components.training.models.weights

screenshots: setup ## Take the pictures of the web app for the documentation; needs a pushed model and chromium
	$(PY) -m serving start --rest-port 0 --grpc-port 0 --run "$(PY) -m tests.support.web.screenshots"

bench: setup ## Run every benchmark
	for name in pipeline examples datasets serving release webapp; do $(PY) -m bench.$$name; done

clean: ## Remove caches; models and runs in var/ stay
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
	find . -name __pycache__ -not -path "./.venv/*" -prune -exec rm -rf {} +

distclean: clean ## Remove the environment too
	rm -rf .venv .tools
