# Every target sets up .venv if it is missing. `make` lists the targets.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# A value reaches a command as it was typed: no shell and no make expands what is in it.
quote  = '$(subst ','\'',$(1))'
text   = $(call quote,$(value $(1)))
each   = $(foreach word,$(value $(1)),$(call quote,$(word)))
option = $(if $(value $(1)),$(2) $(text))
NAMES  := EXP STUDY PROTOCOL FOLDS JOBS CORPORA SET DATA CACHE RESUME PARTS ENGINE GPUS RUN MODEL PORT HOST TRIALS INNER \
          A B CORPUS VERIFY NAME AUDIO OUT TIMELINE MIN MIC TOP MAP MAX_MB TIMEOUT INT8 OLDER ALL YES ONLY ROUNDS SHARE
unexport $(NAMES)  # make would expand them for the environment

EMOTION = $(BIN)/emotion-lightning $(call option,PARTS,--parts)
ENGINES = $(call option,ENGINE,--engine) $(call option,GPUS,--gpus)
FOLDERS = $(call option,DATA,--data) $(call option,CACHE,--cache)
MODELS  = $(call option,RUN,--run) $(call option,MODEL,--model)
# some shells export HOST: only that of make's own command line counts
ADDRESS = $(call option,PORT,--port) $(if $(filter command,$(origin HOST)),$(call option,HOST,--host))
CLIPS   = $(FOLDERS) $(call option,CORPORA,--corpora)
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
# Python compiles what it imports, once; pip would compile all of 6 GB, which takes a minute more
PIP    += $(if $(PYTHONDONTWRITEBYTECODE),,--no-compile)

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev setup-cluster setup-weights setup-tune setup-onnx setup-app setup-explain setup-audit train study ablation honesty tune audit sanity report compare import data weights predict explain register serve app export experiments ui prune bench bench-check trust test test-slow test-all audit-deps lint clean

help: ## list the targets; PARTS=dir adds your own parts to any of them
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

train: setup ## train and track one experiment: EXP=demo [PROTOCOL=…] [FOLDS=all] [JOBS=n] [CORPORA="ravdess savee"] [SET="key.path=value …"] [DATA=dir] [CACHE=dir] [RESUME=run]
	@test -n $(call text,EXP) || { echo 'error: EXP is missing, for example: make train EXP=demo (make experiments lists them)'; exit 2; }
	@$(EMOTION) train $(call text,EXP) $(if $(value PROTOCOL),protocol=$(call text,PROTOCOL)) $(call each,SET) $(CLIPS) $(call option,FOLDS,--folds) $(call option,JOBS,--jobs) $(call option,RESUME,--resume)

study: setup $(if $(filter ray,$(value ENGINE)),setup-cluster) ## train what a study is missing and write reports/STUDY: STUDY=demo [JOBS=n] [ENGINE=ray] [GPUS=0.5] [CORPORA=…] [SET=…] [DATA=dir] [CACHE=dir]
	@test -n $(call text,STUDY) || { echo 'error: STUDY is missing, for example: make study STUDY=demo (experiments/studies has them)'; exit 2; }
	@$(EMOTION) study $(call text,STUDY) $(call each,SET) $(CLIPS) $(call option,JOBS,--jobs) $(ENGINES)

ablation: ## the paper's table and ours, under both protocols: make study STUDY=ablation
	@$(MAKE) --no-print-directory study STUDY=ablation

honesty: setup $(if $(filter ray,$(value ENGINE)),setup-cluster) ## one model under leaky rows, by clip, by speaker, by sentence: EXP=svm [FOLDS=n] [JOBS=n] [ENGINE=ray] [CORPORA=…] [SET=…] [DATA=dir]
	@test -n $(call text,EXP) || { echo 'error: EXP is missing, for example: make honesty EXP=svm'; exit 2; }
	@$(EMOTION) honesty $(call text,EXP) $(call each,SET) $(CLIPS) $(call option,FOLDS,--folds) $(call option,JOBS,--jobs) $(ENGINES)

tune: setup-tune ## search settings by the training side, write experiments/EXP_tuned.yaml: EXP=svm TRIALS=20 [INNER=3] [PROTOCOL=…] [CORPORA=…] [SET=…] [DATA=dir] [CACHE=dir]
	@test -n $(call text,EXP) -a -n $(call text,TRIALS) || { echo 'error: both are needed: make tune EXP=svm TRIALS=20'; exit 2; }
	@$(EMOTION) tune $(call text,EXP) $(if $(value PROTOCOL),protocol=$(call text,PROTOCOL)) $(call each,SET) $(CLIPS) --trials $(call text,TRIALS) $(call option,INNER,--inner)

audit: setup ## find speakers, clips and sounds in two splits: EXP=svm [PROTOCOL=speaker_folds] [CORPORA=…] [SET=…] [DATA=dir]
	@test -n $(call text,EXP) || { echo 'error: EXP is missing, for example: make audit EXP=svm PROTOCOL=speaker_folds'; exit 2; }
	@$(EMOTION) audit $(call text,EXP) $(if $(value PROTOCOL),protocol=$(call text,PROTOCOL)) $(call each,SET) $(CLIPS)

sanity: setup ## permute the emotions of each speaker's clips; the score has to be that of chance: EXP=svm [PROTOCOL=…] [CORPORA=…] [SET=…] [DATA=dir]
	@test -n $(call text,EXP) || { echo 'error: EXP is missing, for example: make sanity EXP=svm PROTOCOL=speaker_folds'; exit 2; }
	@$(EMOTION) sanity $(call text,EXP) $(if $(value PROTOCOL),protocol=$(call text,PROTOCOL)) $(call each,SET) $(CLIPS)

report: setup ## write a study's report again from MLflow, without training: STUDY=demo
	@test -n $(call text,STUDY) || { echo 'error: STUDY is missing, for example: make report STUDY=demo'; exit 2; }
	@$(EMOTION) report $(call text,STUDY)

compare: setup ## is A better than B? paired tests of two runs, or of two arms of a study: A=svm B=lstm [STUDY=ablation]
	@test -n $(call text,A) -a -n $(call text,B) || { echo 'error: both are needed: make compare A=<run id or arm> B=<run id or arm>'; exit 2; }
	@$(EMOTION) compare $(call text,A) $(call text,B) $(call option,STUDY,--study)

import: setup ## send a run to the tracking server that did not answer when the run ended: RUN=mlruns/outbox/<run id>
	@test -n $(call text,RUN) || { echo 'error: RUN is missing, for example: make import RUN=mlruns/outbox/<run id>'; exit 2; }
	@$(EMOTION) import-run $(call text,RUN)

data: setup ## fetch and check a corpus: CORPUS=ravdess [DATA=dir] [VERIFY=1: byte for byte]
	@test -n $(call text,CORPUS) || { echo 'error: CORPUS is missing, for example: make data CORPUS=ravdess'; exit 2; }
	@$(EMOTION) data $(call text,CORPUS) $(FOLDERS) $(if $(value VERIFY),--verify)

weights: setup-weights ## list the pretrained weights, or fetch and check a set: [NAME=whisper_base]
	@$(EMOTION) weights $(if $(value NAME),$(call text,NAME))

predict: setup ## emotions of your sound files: AUDIO=file-or-folder-or-pattern RUN=run|MODEL=name-or-folder [OUT=file.csv] [TIMELINE=1] [MIN=0.5] [MIC=seconds]
	@$(EMOTION) predict $(if $(value AUDIO),$(call text,AUDIO)) $(MODELS) $(call option,OUT,--out) $(if $(value TIMELINE),--timeline) $(call option,MIN,--min-confidence) $(call option,MIC,--mic)

explain: setup $(if $(value AUDIO),setup-explain) ## a page of a run's errors, reports/explain/RUN: RUN=run [AUDIO=file: what mattered in it] [TOP=12] [MAP=tsne] [DATA=dir] [CACHE=dir]
	@test -n $(call text,RUN) || { echo 'error: RUN is missing, for example: make explain RUN=<run id>'; exit 2; }
	@$(EMOTION) explain $(call text,RUN) $(FOLDERS) $(call option,AUDIO,--audio) $(call option,TOP,--top) $(call option,MAP,--map)

register: setup ## put a run's model into MLflow's registry; the champion changes if the paired test says so: RUN=run NAME=name
	@test -n $(call text,RUN) -a -n $(call text,NAME) || { echo 'error: both are needed: make register RUN=<run id> NAME=<name>'; exit 2; }
	@$(EMOTION) register --run $(call text,RUN) --name $(call text,NAME)

serve: setup ## serve a model over HTTP on 127.0.0.1: RUN=run|MODEL=name-or-folder [PORT=5002] [HOST=address] [MAX_MB=25] [TIMEOUT=60]
	@$(EMOTION) serve $(MODELS) $(ADDRESS) $(call option,MAX_MB,--max-mb) $(call option,TIMEOUT,--timeout)

app: setup-app setup-explain ## a page on 127.0.0.1 that recognises uploaded and recorded sounds: RUN=run|MODEL=name-or-folder [PORT=7860] [MIN=0.5] [HOST=0.0.0.0: for everyone]
	@$(EMOTION) app $(MODELS) $(ADDRESS) $(call option,MIN,--min-confidence)

export: setup-onnx ## write a model as ONNX, checked against torch: RUN=run|MODEL=name-or-folder [INT8=1] [OUT=dir] [AUDIO=file-or-folder-or-pattern] [DATA=dir] [CACHE=dir]
	@$(EMOTION) export $(MODELS) $(call option,OUT,--out) $(if $(value INT8),--int8) $(call option,AUDIO,--audio) $(FOLDERS)

experiments: setup ## list the experiments, the studies and the published figures
	@$(EMOTION) experiments

ui: setup ## MLflow's pages for mlruns/ on 127.0.0.1 [PORT=5000]
	@$(EMOTION) ui $(call option,PORT,--port)

prune: setup ## list old runs with age and size; YES=1 deletes them: [OLDER=30d] [STUDY=name: its runs] [ALL=1: also those of studies] [YES=1]
	@$(EMOTION) prune $(call option,OLDER,--older) $(call option,STUDY,--study) $(if $(value ALL),--all) $(if $(value YES),--yes)

bench: setup-dev ## compare speeds, write docs/benchmarks.md: [DATA=dir] [ONLY=train_step] [ROUNDS=5]
	@$(BIN)/python -m benchmarks $(call each,ONLY) $(call option,DATA,--data) $(call option,ROUNDS,--rounds)

bench-check: setup-dev ## fail if a guarded ratio has fallen: [DATA=dir] [ONLY=train_step] [ROUNDS=5]
	@$(BIN)/python -m benchmarks $(call each,ONLY) --check $(call option,DATA,--data) $(call option,ROUNDS,--rounds)

trust: setup-dev ## kill, fill, fuzz and load all that can break, write docs/trust.md (hours): [ONLY=kills] [SHARE=0.1: fewer tries]
	@$(BIN)/python -m trust $(call each,ONLY) $(call option,SHARE,--share)

test: setup-dev ## the fast tests: [ARGS="-x tests/test_audio.py"]
	@$(PYTEST) -m "not slow and not real" $(ARGS)

test-slow: setup-dev ## the other tests: several processes, kill and resume, the shipped experiments, the real corpora: [ARGS=…]
	@$(PYTEST) -m "slow or real" $(ARGS)

test-all: setup-dev ## all tests: [ARGS=…]
	@$(PYTEST) $(ARGS)

audit-deps: setup-audit ## ask the advisory service of PyPI for known faults of the installed packages (needs a network)
	@$(BIN)/python -m pip freeze --exclude-editable | sed 's/+.*//' > $(VENV)/.frozen
	@$(BIN)/pip-audit --strict --disable-pip --no-deps --progress-spinner off --requirement $(VENV)/.frozen 2> $(VENV)/.audit.log || \
	  { echo "error: there are known faults (above), or PyPI cannot be asked: $$(tail -n 1 $(VENV)/.audit.log)"; exit 1; }

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
setup-audit: $(VENV)/.installed-audit

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
