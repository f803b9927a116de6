# Portico in two commands: `make run` and `make test`. All the work is in install.py and in `portico`.

PYTHON ?=
BIN := .venv/bin

.PHONY: help run test lint lock clean

help:
	@echo "make run    install what is missing and start the portal here"
	@echo "make test   install what tests need and run all of them"
	@echo "make lint   format check, lint, types, import rules"
	@echo "make lock   choose the newest allowed versions of all dependencies"
	@echo "make clean  remove .venv"

run:
	@sh tools/python.sh "$(PYTHON)" install.py
	@exec $(BIN)/portico up

test:
	@sh tools/python.sh "$(PYTHON)" install.py --dev
	@sh tools/test.sh $(BIN)/python

lint:
	@sh tools/python.sh "$(PYTHON)" install.py --dev
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/djlint --check --lint templates
	$(BIN)/mypy .

lock:
	@sh tools/python.sh "$(PYTHON)" install.py --dev
	@sh tools/lock.sh $(BIN)/uv

clean:
	rm -rf .venv
