# The commands of the project; `make` or `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python

parameters := ONCE HOURS RATE ARCHIVE TOPICS MODELS SENTIMENT TRANSLATION PORT DATABASE BIND GATEWAY BROWSER MINUTES POSTS LABELED ONLY MODEL FROM LANGUAGES UPLOAD
given := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
unknown := $(filter-out $(parameters),$(given))
ifneq ($(strip $(unknown)),)
$(error Unknown parameter $(strip $(unknown)); the parameters are $(parameters) (see `make help`))
endif

.PHONY: help parameters setup run stand-ins models test kill-test fault-matrix soak live-test containers-test bench truth check mwaa docs lock clean

run_options = $(if $(HOURS),--hours "$(HOURS)") $(if $(RATE),--rate "$(RATE)") $(if $(ARCHIVE),--archive "$(ARCHIVE)") \
	$(if $(TOPICS),--topics "$(TOPICS)") $(if $(MODELS),--models "$(MODELS)") \
	$(if $(SENTIMENT),--sentiment "$(SENTIMENT)") $(if $(TRANSLATION),--translation "$(TRANSLATION)") $(if $(PORT),--port "$(PORT)") $(if $(BIND),--bind "$(BIND)") \
	$(if $(GATEWAY),--gateway "$(GATEWAY)")

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "Parameters of run: ONCE=1 ends after the summary; HOURS=6 past hours to recover; RATE=3000 posts an hour"
	@echo "in the archive; ARCHIVE=tweets.ndjson.gz replays real tweets; TOPICS=topics.yaml measures other topics;"
	@echo "MODELS=ngram labels with the faster embedded model, or with what make models has packed"
	@echo "(opus-mt,twitter-roberta: several); SENTIMENT= and TRANSLATION="
	@echo "name any artifact: a folder, a model.tar.gz, s3://bucket/model.tar.gz;"
	@echo "PORT=8080 the first of the nine ports in use (Airflow's UI);"
	@echo "DATABASE=postgresql keeps Airflow's metadata as deployments do, not in SQLite (of test, too);"
	@echo "BIND=0.0.0.0 lets containers (and the network) reach the stand-ins, by .run/containers.env; GATEWAY= is"
	@echo "this machine's name in containers (host.docker.internal, or an address such as 172.17.0.1)."
	@echo "Of soak and live-test: MINUTES=30 how long they last; of live-test: POSTS=50 a second. Of test: BROWSER=0"
	@echo "leaves out the tests of pages."
	@echo "Of models: MODEL=opus-mt which recipe; FROM=folder has its checkpoints, instead of the hub; LANGUAGES=ru,uk of a"
	@echo "translator, only these; LABELED=tweets.parquet (lang, text, label) measures it; UPLOAD=1 into the bucket."
	@echo "Of bench: LABELED=tweets.parquet trains on your own tweets (text, label: 0 negative, 1 neutral, 2 positive);"
	@echo "a folder with train*.parquet and test*.parquet also tells how good the student is, beside the grid-search baseline."
	@echo "ONLY=coverage,removals measures these parts alone (the names of benchmarks/)."
	@echo "Of truth: LABELED=folder of such files, with lang; topics are made up out of them."

parameters:
	@python3 local/parameters.py

setup: parameters ## Set up or update everything on this machine
	@python3 tools/setup.py

run: setup ## Set up and run the whole pipeline on this machine, until Ctrl-C
	@exec $(PYTHON) -m local run $(if $(filter-out 0,$(ONCE)),--once) $(if $(DATABASE),--database "$(DATABASE)") $(run_options)

stand-ins: setup ## Run the stand-ins alone, for containers
	@exec $(PYTHON) -m local stand-ins $(run_options)

models: parameters ## Fetch, convert, verify and pack a model: MODEL=opus-mt (docs/models.md)
	@[ -n "$(MODEL)" ] || { echo "make models: give MODEL=, a recipe of tools/models/recipes.yaml" >&2; exit 2; }
	@python3 tools/setup.py pack
	@.venv-pack/bin/python -m tools.models "$(MODEL)" $(if $(FROM),--from "$(FROM)") $(if $(LANGUAGES),--languages "$(LANGUAGES)") \
	$(if $(LABELED),--labeled "$(LABELED)") $(if $(filter-out 0,$(UPLOAD)),--upload)

test: setup ## Set up, lint, check types and run the tests
	@python3 tools/setup.py pack
	@$(PYTHON) -m tools.suite

kill-test: setup ## Kill the streamer 100 times under load and settle what became of every post
	@$(PYTHON) -m local.proof.kill_test --kills 100 --page docs/streamer-measurements.md

fault-matrix: setup ## Run the streamer under every fault of X and Firehose; docs/streamer-measurements.md
	@$(PYTHON) -m local.proof.fault_matrix --page docs/streamer-measurements.md

soak: setup ## Stream at X's full rate among random faults for MINUTES=30; losses and memory
	@$(PYTHON) -m local.proof.soak --minutes "$(or $(MINUTES),30)" --page docs/streamer-measurements.md

live-test: setup ## Measure how soon pages show a post, at POSTS=50 a second for MINUTES=30; docs/live.md
	@$(PYTHON) -m local.proof.live_test --posts "$(or $(POSTS),50)" --minutes "$(or $(MINUTES),30)" --page docs/live.md

containers-test: setup ## Build the images and run docker-compose.yaml as documented, by a real engine
	@$(PYTHON) -m local.proof.containers --page docs/deployment.md

bench: setup ## Measure against peers; a table, .run/bench.json and docs/benchmarks.md
	@python3 tools/setup.py pack
	@$(PYTHON) -m benchmarks --page docs/benchmarks.md $(if $(LABELED),--labeled "$(LABELED)") $(if $(ONLY),--only "$(ONLY)")

truth: setup ## Measure how often the dashboards' intervals hold the truth; LABELED=folder, docs/truth.md
	@$(PYTHON) -m benchmarks.truth --labeled "$(LABELED)" --page docs/truth.md

check: setup ## Lint, types and DAG policy; changes nothing
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m pyrefly check
	@$(PYTHON) -m pytest tests/dags/test_policy.py

mwaa: setup ## Build dist/mwaa/: DAGs, plugins.zip and requirements.txt for Amazon MWAA
	@$(PYTHON) -m tools.mwaa

docs: setup ## Regenerate the generated pages of docs/
	@$(PYTHON) -m tools.document

lock: setup ## Resolve the dependencies and rewrite the locks
	@$(PYTHON) -m tools.lock

clean: ## Remove what runs have left (.run/); the environment stays
	@rm -rf .run
