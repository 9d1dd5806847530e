# Every target calls `setup` by itself: on a bare Debian 12 with root, `make demo` and `make test` are all you need.

PYTHON ?= /usr/bin/python3
VENV   := .venv
BIN    := $(VENV)/bin
NATIVE := src/bascule/native
CLANG  ?= clang
BPF_HEADERS := $(wildcard bpf/*.h)
BPF_FLAGS := -O2 -g -target bpf -mcpu=v3 -Wall -Wextra -Werror -I/usr/include/$(shell uname -m)-linux-gnu

.DEFAULT_GOAL := help
SEEDS ?= 1000
.PHONY: help setup native demo test test-all test-unit test-kernels test-kernel test-lab test-ipvs lab-ipvs simulate check format bench \
        bench-orchestrator docs clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

# What only `make test-ipvs` needs: a kernel with IPVS, which this machine's need not have, and tools to look at it.
GUEST_PACKAGES := ipvsadm iptables kmod $(if $(filter x86_64,$(shell uname -m)),user-mode-linux)
# The database of tests that run on PostgreSQL too: they start a server of their own, never the machine's.
DATABASE_PACKAGES := postgresql
APT_PACKAGES := bird2 clang ethtool gcc iproute2 keepalived libbpf-dev libbpf1 libc6-dev linux-libc-dev nftables openssl \
                procps python3-venv $(GUEST_PACKAGES) $(DATABASE_PACKAGES)

.setup-stamp: pyproject.toml Makefile
	@missing=$$(dpkg-query -W -f='$${db:Status-Status} $${Package}\n' $(APT_PACKAGES) 2>&1 | grep -v '^installed' || true); \
	 if [ -n "$$missing" ]; then \
	   echo "installing $(APT_PACKAGES)"; \
	   apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $(APT_PACKAGES) >/dev/null; \
	 fi
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

setup: .setup-stamp native ## Install the apt and pip parts, compile the native parts

native: $(NATIVE)/xdp_balancer.bpf.o $(NATIVE)/tc_hypervisor.bpf.o $(NATIVE)/tc_decapsulate.bpf.o $(NATIVE)/lab_passage.bpf.o \
        $(NATIVE)/libbascule.so

$(NATIVE)/%.bpf.o: bpf/%.bpf.c $(BPF_HEADERS)
	$(CLANG) $(BPF_FLAGS) -c $< -o $@

$(NATIVE)/libbascule.so: bpf/maglev.c bpf/history.c bpf/layout.h
	$(CC) -O2 -shared -fPIC -Wall -Wextra -Werror $(filter %.c,$^) -o $@

demo: setup ## Build a data centre in network namespaces and see a load balancer carry real traffic
	$(BIN)/bascule lab demo

test: check ## Checks, then every test but the slow ones: the guest, the lab and all others side by side
	@$(MAKE) --no-print-directory --jobs 3 --output-sync=target test-kernels test-lab test-unit SELECT='and not slow'

test-all: check test-unit test-lab test-kernels ## Checks, then every test

# Which of the tests below: all of them, unless `make test` asks.
SELECT ?=

test-unit: setup ## Every test that needs neither the lab nor a kernel to itself, two at a time
	$(BIN)/pytest tests $(addprefix --ignore tests/,lab ipvs bpf contract) -m 'not guest $(SELECT)' --numprocesses 2 --quiet

# One after the other: together they take about as long as all others.
test-kernels:
	@$(MAKE) --no-print-directory test-ipvs
	@$(MAKE) --no-print-directory test-kernel

test-kernel: setup ## Packets through this machine's kernel, and what every driver promises
	$(BIN)/pytest tests/bpf tests/contract -m 'not guest $(SELECT)' --quiet

test-lab: setup ## The whole system over real packets in network namespaces
	$(BIN)/pytest tests/lab -m "(lab or not lab) $(SELECT)" --quiet

# What this machine's kernel runs as well: the guest, an older kernel, repeats it only when every test is asked for.
HERE_TOO := tests/contract/test_forwarding.py

test-ipvs: setup ## IPVS for real, under a kernel that has it: boots User-Mode Linux, leaves its log and junit.xml in build/ipvs
	$(BIN)/python tools/user_mode_linux.py --output build/ipvs --timeout 1800 -- \
	    $(BIN)/pytest tests/ipvs tests/contract/test_dataplanes.py $(if $(SELECT),,$(HERE_TOO)) \
	    -k "ipvs or keepalived or iptables" -m "(root or not root) $(SELECT)" --quiet -p no:cacheprovider --junitxml /run/out/junit.xml

# Any command line of `bascule lab` that begins and ends by itself: the guest is gone afterwards.
LAB ?= demo --dataplane ipvs --check-interval 5 --exchanges 200

lab-ipvs: setup ## The demo over the kernel's own IPVS, under a kernel that has it: boots User-Mode Linux, log in build/lab-ipvs
	$(BIN)/python tools/user_mode_linux.py --output build/lab-ipvs --timeout 3600 -- $(BIN)/bascule lab $(LAB)

simulate: setup ## SEEDS=10000 histories of crashes and lost messages on a virtual clock; SEED=… replays one
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) $(if $(SEED),--seed $(SEED))

check: setup ## Format, lint, types, import rules
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy --no-error-summary
	$(BIN)/lint-imports --no-logo 2>&1 | tail -n 3

format: setup ## Put every file into the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup ## Time what must be fast, beside what it is compared with
	$(BIN)/python -m benchmarks.bench_maglev
	$(BIN)/python -m benchmarks.bench_keepalived
	$(BIN)/python -m benchmarks.bench_xdp
	$(BIN)/python -m benchmarks.bench_hypervisor
	$(BIN)/python -m benchmarks.bench_queue
	$(BIN)/python -m benchmarks.bench_vrrp

bench-orchestrator: setup ## What finding nothing to do costs, from 10 to 10,000 load balancers; docs/reference/orchestrator-cost.svg
	$(BIN)/python -m benchmarks.bench_orchestrator docs/reference/orchestrator-cost.svg

docs: setup ## Write the reference pages that are generated from the code
	$(BIN)/python tools/write_reference.py

clean: ## Remove what was built
	rm -rf $(VENV) .setup-stamp build dist $(NATIVE)/*.o $(NATIVE)/*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis
