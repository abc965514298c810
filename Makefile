# Every target sets up .venv if it is missing. `make` lists the targets.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
EMOTION := $(BIN)/emotion-lightning $(if $(PARTS),--parts "$(PARTS)")
ENGINES = $(if $(ENGINE),--engine $(ENGINE)) $(if $(GPUS),--gpus $(GPUS))
FOLDERS = $(if $(DATA),--data "$(DATA)") $(if $(CACHE),--cache "$(CACHE)")
MODELS = $(if $(RUN),--run "$(RUN)") $(if $(MODEL),--model "$(MODEL)")
# some shells export HOST: only that of make's own command line counts
ADDRESS = $(if $(PORT),--port $(PORT)) $(if $(filter command,$(origin HOST)),--host "$(HOST)")
CLIPS  = $(FOLDERS) $(if $(CORPORA),--corpora "$(CORPORA)")
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
# Python compiles what it imports, once; pip would compile all of 6 GB, which takes a minute more
PIP    += $(if $(PYTHONDONTWRITEBYTECODE),,--no-compile)

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev setup-cluster setup-weights setup-tune setup-onnx setup-app setup-explain train study ablation honesty tune audit sanity report compare import data weights predict explain register serve app export experiments ui prune bench bench-check trust test test-slow test-all lint clean

help: ## list the targets; PARTS=dir adds your own parts to any of them
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

train: setup ## train and track one experiment: EXP=demo [PROTOCOL=…] [FOLDS=all] [JOBS=n] [CORPORA="ravdess savee"] [SET="key.path=value …"] [DATA=dir] [CACHE=dir] [RESUME=run]
	@test -n "$(EXP)" || { echo 'error: EXP is missing, for example: make train EXP=demo (make experiments lists them)'; exit 2; }
	@$(EMOTION) train "$(EXP)" $(if $(PROTOCOL),protocol=$(PROTOCOL)) $(SET) $(CLIPS) $(if $(FOLDS),--folds "$(FOLDS)") $(if $(JOBS),--jobs $(JOBS)) $(if $(RESUME),--resume "$(RESUME)")

study: setup $(if $(filter ray,$(ENGINE)),setup-cluster) ## train what a study is missing and write reports/STUDY: STUDY=demo [JOBS=n] [ENGINE=ray] [GPUS=0.5] [CORPORA=…] [SET=…] [DATA=dir] [CACHE=dir]
	@test -n "$(STUDY)" || { echo 'error: STUDY is missing, for example: make study STUDY=demo (experiments/studies has them)'; exit 2; }
	@$(EMOTION) study "$(STUDY)" $(SET) $(CLIPS) $(if $(JOBS),--jobs $(JOBS)) $(ENGINES)

ablation: ## the paper's table and ours, under both protocols: make study STUDY=ablation
	@$(MAKE) --no-print-directory study STUDY=ablation

honesty: setup $(if $(filter ray,$(ENGINE)),setup-cluster) ## one model under leaky rows, by clip, by speaker, by sentence: EXP=svm [FOLDS=n] [JOBS=n] [ENGINE=ray] [CORPORA=…] [SET=…] [DATA=dir]
	@test -n "$(EXP)" || { echo 'error: EXP is missing, for example: make honesty EXP=svm'; exit 2; }
	@$(EMOTION) honesty "$(EXP)" $(SET) $(CLIPS) $(if $(FOLDS),--folds $(FOLDS)) $(if $(JOBS),--jobs $(JOBS)) $(ENGINES)

tune: setup-tune ## search settings by the training side, write experiments/EXP_tuned.yaml: EXP=svm TRIALS=20 [INNER=3] [PROTOCOL=…] [CORPORA=…] [SET=…] [DATA=dir] [CACHE=dir]
	@test -n "$(EXP)" -a -n "$(TRIALS)" || { echo 'error: both are needed: make tune EXP=svm TRIALS=20'; exit 2; }
	@$(EMOTION) tune "$(EXP)" $(if $(PROTOCOL),protocol=$(PROTOCOL)) $(SET) $(CLIPS) --trials "$(TRIALS)" $(if $(INNER),--inner "$(INNER)")

audit: setup ## find speakers, clips and sounds in two splits: EXP=svm [PROTOCOL=speaker_folds] [CORPORA=…] [SET=…] [DATA=dir]
	@test -n "$(EXP)" || { echo 'error: EXP is missing, for example: make audit EXP=svm PROTOCOL=speaker_folds'; exit 2; }
	@$(EMOTION) audit "$(EXP)" $(if $(PROTOCOL),protocol=$(PROTOCOL)) $(SET) $(CLIPS)

sanity: setup ## permute the emotions of each speaker's clips; the score has to be that of chance: EXP=svm [PROTOCOL=…] [CORPORA=…] [SET=…] [DATA=dir]
	@test -n "$(EXP)" || { echo 'error: EXP is missing, for example: make sanity EXP=svm PROTOCOL=speaker_folds'; exit 2; }
	@$(EMOTION) sanity "$(EXP)" $(if $(PROTOCOL),protocol=$(PROTOCOL)) $(SET) $(CLIPS)

report: setup ## write a study's report again from MLflow, without training: STUDY=demo
	@test -n "$(STUDY)" || { echo 'error: STUDY is missing, for example: make report STUDY=demo'; exit 2; }
	@$(EMOTION) report "$(STUDY)"

compare: setup ## is A better than B? paired tests of two runs, or of two arms of a study: A=svm B=lstm [STUDY=ablation]
	@test -n "$(A)" -a -n "$(B)" || { echo 'error: both are needed: make compare A=<run id or arm> B=<run id or arm>'; exit 2; }
	@$(EMOTION) compare "$(A)" "$(B)" $(if $(STUDY),--study "$(STUDY)")

import: setup ## send a run to the tracking server that did not answer when the run ended: RUN=mlruns/outbox/<run id>
	@test -n "$(RUN)" || { echo 'error: RUN is missing, for example: make import RUN=mlruns/outbox/<run id>'; exit 2; }
	@$(EMOTION) import-run "$(RUN)"

data: setup ## fetch and check a corpus: CORPUS=ravdess [DATA=dir] [VERIFY=1: byte for byte]
	@test -n "$(CORPUS)" || { echo 'error: CORPUS is missing, for example: make data CORPUS=ravdess'; exit 2; }
	@$(EMOTION) data "$(CORPUS)" $(FOLDERS) $(if $(VERIFY),--verify)

weights: setup-weights ## list the pretrained weights, or fetch and check a set: [NAME=whisper_base]
	@$(EMOTION) weights $(if $(NAME),"$(NAME)")

predict: setup ## emotions of your sound files: AUDIO=file-or-folder-or-pattern RUN=run|MODEL=name-or-folder [OUT=file.csv] [TIMELINE=1] [MIN=0.5] [MIC=seconds]
	@$(EMOTION) predict $(if $(AUDIO),"$(AUDIO)") $(MODELS) $(if $(OUT),--out "$(OUT)") $(if $(TIMELINE),--timeline) $(if $(MIN),--min-confidence $(MIN)) $(if $(MIC),--mic $(MIC))

explain: setup $(if $(AUDIO),setup-explain) ## a page of a run's errors, reports/explain/RUN: RUN=run [AUDIO=file: what mattered in it] [TOP=12] [MAP=tsne] [DATA=dir] [CACHE=dir]
	@test -n "$(RUN)" || { echo 'error: RUN is missing, for example: make explain RUN=<run id>'; exit 2; }
	@$(EMOTION) explain "$(RUN)" $(FOLDERS) $(if $(AUDIO),--audio "$(AUDIO)") $(if $(TOP),--top "$(TOP)") $(if $(MAP),--map "$(MAP)")

register: setup ## put a run's model into MLflow's registry; the champion changes if the paired test says so: RUN=run NAME=name
	@test -n "$(RUN)" -a -n "$(NAME)" || { echo 'error: both are needed: make register RUN=<run id> NAME=<name>'; exit 2; }
	@$(EMOTION) register --run "$(RUN)" --name "$(NAME)"

serve: setup ## serve a model over HTTP on 127.0.0.1: RUN=run|MODEL=name-or-folder [PORT=5002] [HOST=address] [MAX_MB=25] [TIMEOUT=60]
	@$(EMOTION) serve $(MODELS) $(ADDRESS) $(if $(MAX_MB),--max-mb $(MAX_MB)) $(if $(TIMEOUT),--timeout $(TIMEOUT))

app: setup-app setup-explain ## a page on 127.0.0.1 that recognises uploaded and recorded sounds: RUN=run|MODEL=name-or-folder [PORT=7860] [MIN=0.5] [HOST=0.0.0.0: for everyone]
	@$(EMOTION) app $(MODELS) $(ADDRESS) $(if $(MIN),--min-confidence $(MIN))

export: setup-onnx ## write a model as ONNX, checked against torch: RUN=run|MODEL=name-or-folder [INT8=1] [OUT=dir] [AUDIO=file-or-folder-or-pattern] [DATA=dir] [CACHE=dir]
	@$(EMOTION) export $(MODELS) $(if $(OUT),--out "$(OUT)") $(if $(INT8),--int8) $(if $(AUDIO),--audio "$(AUDIO)") $(FOLDERS)

experiments: setup ## list the experiments, the studies and the published figures
	@$(EMOTION) experiments

ui: setup ## MLflow's pages for mlruns/ on 127.0.0.1 [PORT=5000]
	@$(EMOTION) ui $(if $(PORT),--port $(PORT))

prune: setup ## list old runs with age and size; YES=1 deletes them: [OLDER=30d] [STUDY=name: its runs] [ALL=1: also those of studies] [YES=1]
	@$(EMOTION) prune $(if $(OLDER),--older "$(OLDER)") $(if $(STUDY),--study "$(STUDY)") $(if $(ALL),--all) $(if $(YES),--yes)

bench: setup-dev ## compare speeds, write docs/benchmarks.md: [DATA=dir] [ONLY=train_step] [ROUNDS=5]
	@$(BIN)/python -m benchmarks $(ONLY) $(if $(DATA),--data "$(DATA)") $(if $(ROUNDS),--rounds $(ROUNDS))

bench-check: setup-dev ## fail if a guarded ratio has fallen: [DATA=dir] [ONLY=train_step] [ROUNDS=5]
	@$(BIN)/python -m benchmarks $(ONLY) --check $(if $(DATA),--data "$(DATA)") $(if $(ROUNDS),--rounds $(ROUNDS))

trust: setup-dev ## kill, fill, fuzz and load all that can break, write docs/trust.md (hours): [ONLY=kills] [SHARE=0.1: fewer tries]
	@$(BIN)/python -m trust $(ONLY) $(if $(SHARE),--share $(SHARE))

test: setup-dev ## the fast tests: [ARGS="-x tests/test_audio.py"]
	@$(PYTEST) -m "not slow and not real" $(ARGS)

test-slow: setup-dev ## the other tests: several processes, kill and resume, the shipped experiments, the real corpora: [ARGS=…]
	@$(PYTEST) -m "slow or real" $(ARGS)

test-all: setup-dev ## all tests: [ARGS=…]
	@$(PYTEST) $(ARGS)

lint: setup-dev ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

clean: ## remove .venv and the cache of features, never mlruns/ or data/
	rm -rf $(VENV) .cache

setup: $(VENV)/.installed
setup-dev: $(VENV)/.installed-dev
setup-cluster: $(VENV)/.installed-cluster
setup-weights: $(VENV)/.installed-weights
setup-tune: $(VENV)/.installed-tune
setup-onnx: $(VENV)/.installed-onnx
setup-app: $(VENV)/.installed-app
setup-explain: $(VENV)/.installed-explain

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'error: Python 3.11 or newer is needed; PYTHON=python3.12 names one'; exit 2; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo 'setting up .venv (torch and its libraries: 6 GB, a few minutes) …'
	@$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo 'setting up .venv (torch, its libraries and the tools of the tests: 6 GB, a few minutes) …'
	@$(PIP) --editable '.[dev]'
	@touch $(VENV)/.installed $(addprefix $(VENV)/.installed-,weights tune explain onnx app) $@

# an extra of pyproject.toml: .installed-onnx is '.[onnx]'
$(VENV)/.installed-%: $(VENV)/.installed
	@$(PIP) --editable '.[$*]'
	@touch $@
