# Every command a person, a hook or CI calls. `make` lists them.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/dev ## .venv with the command and all tools in it, from the hashed locks

.venv/demo: requirements-uv.lock requirements-demo.lock pyproject.toml
	PYTHON='$(PYTHON)' release/install.sh demo

.venv/dev: .venv/demo requirements-dev.lock
	PYTHON='$(PYTHON)' release/install.sh dev

demo: .venv/demo ## four requests from start to end on this machine: Kafka, Graphene, worker, playground
	$(BIN)/playground-deployer demo

demo-live: install ## a Sudoku, solved by the pipeline that a request has just deployed on a real node; as root
	$(BIN)/python -m tests.extended.live.demo

image: ## the worker's container image, named by its version; needs Docker
	version=$$(sed -n 's/^__version__ = "\(.*\)"/\1/p' worker/__init__.py) && docker build --tag playground-deployer:$$version \
		--build-arg VERSION=$$version --build-arg REVISION=$$(git rev-parse HEAD) .

up: ## worker, gateway and sandboxes in containers, on 127.0.0.1 only; prints what to try; needs Docker
	docker compose up --build --wait
	@cat compose/try.txt

down: ## stop those containers; what is in Kafka stays
	docker compose down

# In CI, what is tested on Apache Kafka must have had one.
test test-component test-e2e test-faults test-image test-browser test-live: \
	export REQUIRE_KAFKA := $(or $(REQUIRE_KAFKA),$(if $(CI),1))

PYTEST := $(BIN)/python -m pytest -n auto --dist worksteal

test: install ## all tests, in one process more than there are cores; Apache Kafka is borrowed (KAFKA_BOOTSTRAP), in Docker, or embedded
	$(PYTEST)

test-unit: install ## those without Apache Kafka, within a minute: with a fifth of the generated cases
	PARTITION_CASES=$${PARTITION_CASES:-2000} PROPERTIES=$${PROPERTIES:-400} $(PYTEST) tests/unit

test-component: install ## parts of the worker with Apache Kafka, what may leak, and the chart with helm
	$(PYTEST) tests/component

test-e2e: install ## whole workers, the demo and the compose file's services
	$(PYTEST) tests/e2e

test-alerts: install ## the alert rules and the dashboard's queries, by Prometheus's promtool
	$(BIN)/python -m pytest tests/extended/alerts

test-cluster: install ## the finishing script and the chart on a real Kubernetes API server, built once from Go modules (minutes)
	$(BIN)/python -m pytest tests/extended/cluster

test-faults: install ## kills, zombies, brokers and networks that fail, in short; FAULTS=full for all, within the hour
	$(BIN)/python -m pytest tests/extended/faults

test-image: install ## the Dockerfile's commands in an empty root, and a request through the worker in it; as root
	tests/extended/image/bubblewrap.sh
	$(BIN)/python -m pytest tests/extended/image

test-browser: install ## the gateway's pages in a headless Chromium, with a worker and Apache Kafka behind them; 2 minutes
	$(BIN)/python -m pytest tests/extended/browser

test-live: install ## the sandbox's pipelines on a real node, from a request to a solved Sudoku; as root; builds Kubernetes once
	tests/extended/image/bubblewrap.sh
	$(BIN)/python -m tests.extended.live.machine $(BIN)/python -m pytest tests/extended/live

test-docker: install ## the Dockerfile and the compose file in Docker's own engine, unpacked from Debian; as root; minutes
	$(BIN)/python -m tests.extended.docker.machine $(BIN)/python -m pytest tests/extended/docker

soak: install ## an hour of load with a kill every 30 s; SOAK_SECONDS=n
	$(BIN)/python -m pytest tests/extended/faults/soak.py

bench: install ## how fast it is, as a table and bench.json; 6 to 10 minutes
	$(BIN)/python -m tests.extended.bench

bench-scale: install ## 12 to 96 partitions, 1 to 4 workers, and rebalances, as a table and scale.json; 10 minutes
	$(BIN)/python -m tests.extended.bench.scale

properties: install ## 50,000 generated solutions and every string by every reader; PROPERTIES=n, PROPERTIES_SEED=n
	PROPERTIES=$${PROPERTIES:-50000} PROPERTIES_SEED=$${PROPERTIES_SEED:-random} $(PYTEST) tests/component/properties

mutants: install ## break each guard on purpose, one at a time: a test must notice; minutes
	$(BIN)/python -m tests.extended.mutants

check: install ## style, types, import layers, generated schemas and chart, Dockerfile
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m schemas.export --check
	$(BIN)/hadolint Dockerfile
	$(BIN)/python -m release.digests --check
	$(BIN)/python -m tests.component.chart.generated --check

format: install ## rewrite the code in the project's style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

golden: install ## write tests/data/bundles from what `bundle` makes now
	$(BIN)/python -m tests.support.golden

chart: install ## write what is made from helm/values.yaml and the worker's settings, and tests/data/chart
	$(BIN)/python -m tests.component.chart.generated
	$(BIN)/python -m tests.component.chart.golden

schemas: install ## write schemas/generated from schemas/events.py, and schemas/examples/sequences
	$(BIN)/python -m schemas.export
	$(BIN)/python -m tests.support.sequences

pages: install ## write the parts of the pages in docs/ that are made from the code, and the pictures
	$(BIN)/python -m tests.support.pages

trace: install ## the files that one request crosses, counted
	$(BIN)/python -m tests.extended.trace

LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header

lock: install ## newest versions that pyproject.toml allows, with hashes and without registry addresses
	$(LOCK) --upgrade pyproject.toml --output-file requirements.lock
	printf 'editables\nhatchling\n' | $(LOCK) --upgrade --constraint requirements.lock pyproject.toml - --extra demo \
		--output-file requirements-demo.lock
	$(LOCK) --upgrade --constraint requirements-demo.lock pyproject.toml --extra demo --extra dev \
		--output-file requirements-dev.lock
	$(LOCK) --upgrade tests/extended/browser/requirements.in --output-file tests/extended/browser/requirements.lock
	$(LOCK) --upgrade --constraint requirements-dev.lock tests/extended/live/requirements.in --output-file tests/extended/live/requirements.lock
	echo hatchling | $(LOCK) --constraint requirements-dev.lock - --output-file requirements-build.lock
	echo 'uv~=0.13' | $(LOCK) --upgrade - --output-file requirements-uv.lock

digests: install ## base images by the digests that their tags have now; needs Docker and their registry
	$(BIN)/python -m release.digests

licences: install ## write docs/licences.md from the installed packages' metadata
	$(BIN)/python -m release.licences

release: install ## wheel, SBOM and their SHA-256 into dist/, the same bytes each time, and a try from there
	$(BIN)/python -m release

clean: ## remove what the commands made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache demo-output dist

.PHONY: help install demo demo-live image up down test test-unit test-component test-e2e test-alerts test-cluster test-faults test-image test-browser test-live test-docker soak bench bench-scale properties mutants check format golden chart schemas pages trace lock digests licences release clean
