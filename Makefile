# vmkit: plain GNU make, no configure. `make help` lists the targets.
#
#	make [CC=clang] [BUILD=dir] [WERROR_ON=1] [V=1]	programs into $(BUILD)/bin
#	make SAN=address,undefined (or SAN=thread)	the same with sanitizers, into build-san (build-tsan)
#	make COV=1					the same with coverage, into build-cov
#	make FUZZ=1					the same for libFuzzer (clang), into build-fuzz
#
# Sources are found by name: a new cmd/X/*.c, libcommon/**/*.c, tests/unit/test_*.c, tests/fuzz/fuzz_*.c or
# tests/tools/*.c needs no line here. Objects depend on the flags they were made with ($(BUILD)/flags).

VERSION := 0.1.0
PREFIX ?= $(or $(prefix),/usr/local)
DESTDIR ?=
SAN ?=
COV ?=
FUZZ ?=
V ?=
FUZZ_SECONDS ?= 60
BENCH_RUNS ?= 5

ifneq ($(FUZZ),)
BUILD ?= build-fuzz
SAN := address,undefined
CC := clang
else ifeq ($(SAN),thread)
BUILD ?= build-tsan
else ifneq ($(SAN),)
BUILD ?= build-san
else ifneq ($(COV),)
BUILD ?= build-cov
else
BUILD ?= build
endif

# The same folder by another name must not look like another build.
override BUILD := $(patsubst $(CURDIR)/%,%,$(BUILD))

# What is linked; scripts/deps.sh names the Debian packages of these.
PACKAGES := jansson libzstd libdeflate libisal zlib ext2fs com_err
# Loaded while running (dlopen), never linked: headers are enough.
LOADED_PACKAGES := libcrypto libnbd libarchive libxml-2.0 libvirt libvirt-qemu libcurl fuse3
UNIT_PACKAGES := cmocka

PROGRAMS := $(notdir $(patsubst %/,%,$(dir $(wildcard cmd/*/main.c))))
PROGRAM_SOURCES := $(wildcard $(PROGRAMS:%=cmd/%/*.c))
LIB_SOURCES := $(shell find libcommon -name '*.c' | LC_ALL=C sort)
LIB_OBJECTS := $(LIB_SOURCES:%.c=$(BUILD)/%.o)
LIBRARY := $(BUILD)/libvmkit.a
BINARIES := $(PROGRAMS:%=$(BUILD)/bin/%)
# nbdkit is a program that loads a plugin of ours: built where its headers are.
PLUGIN_SOURCES := $(if $(shell pkg-config --exists nbdkit && echo yes),$(wildcard cmd/*/plugin/*.c))
PLUGINS := $(patsubst cmd/%/plugin/plugin.c,$(BUILD)/libexec/vmkit/nbdkit-%-plugin.so, \
	$(filter %/plugin.c,$(PLUGIN_SOURCES)))
# The first process of vmrun's guests: static, and never with sanitizers, for it runs where nothing else is.
GUEST_PROGRAMS := $(BUILD)/libexec/vmkit/vmrun-init
UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/test_*.c))
FUZZERS := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
TOOLS := $(patsubst tests/tools/%.c,$(BUILD)/tools/%,$(wildcard tests/tools/*.c)) \
	$(patsubst tests/preload/%.c,$(BUILD)/tools/%.so,$(wildcard tests/preload/*.c))
MAN_PAGES := $(PROGRAMS:%=$(BUILD)/man/%.1)
# Files beside the tests that hold no main are shared by all tests of their folder.
UNIT_SHARED := $(patsubst %.c,$(BUILD)/%.o,$(filter-out tests/unit/test_%,$(wildcard tests/unit/*.c)))
FUZZ_SHARED := $(patsubst %.c,$(BUILD)/%.o,$(filter-out tests/fuzz/fuzz_% tests/fuzz/standalone.c, \
	$(wildcard tests/fuzz/*.c)))

WARNINGS := -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wundef \
	-Wcast-qual -Wwrite-strings -fno-common
# Where bytes from outside are parsed, no conversion is silent. The exceptions keep -Wconversion without signs;
# so do sanitizer builds, where gcc 12 warns of its own casts.
CONVERSION := libcommon/image/% libcommon/repo/% libcommon/package/% libcommon/guest/% libcommon/runner/%
CONVERSION_UNSIGNED := libcommon/image/format/qcow2/bulk.c
conversion = $(if $(filter $(CONVERSION),$<),-Wconversion) \
	$(if $(SAN)$(filter $(CONVERSION_UNSIGNED),$<),-Wno-sign-conversion)
PKG_CFLAGS := $(shell pkg-config --cflags $(PACKAGES) $(LOADED_PACKAGES) 2>/dev/null || echo missing)
ifneq ($(filter missing,$(PKG_CFLAGS)),)
ifneq ($(filter-out clean help uninstall,$(or $(MAKECMDGOALS),all)),)
$(error a library is missing (one of: $(PACKAGES) $(LOADED_PACKAGES)); run scripts/deps.sh build)
endif
endif
CPPFLAGS_ALL := -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -I. -DVMKIT_VERSION='"$(VERSION)"' $(PKG_CFLAGS) \
	$(CPPFLAGS)
CFLAGS ?= $(if $(SAN),-O1,-O2) -g
# The library becomes part of programs and of a plugin: position independent for both, no symbol open to others.
PIC := -fPIC -fno-semantic-interposition -fvisibility=hidden
CFLAGS_ALL = -std=gnu17 $(WARNINGS) $(WERROR) -pthread $(PIC) -fstack-protector-strong -MMD -MP $(CFLAGS)
LDFLAGS_ALL = -pthread -pie -Wl,-z,relro,-z,now -Wl,--as-needed $(LDFLAGS)
# libbz2 has no pkg-config file in Debian 12.
LIBS := $(shell pkg-config --libs $(PACKAGES) 2>/dev/null) -lbz2
UNIT_LIBS = $(shell pkg-config --libs $(UNIT_PACKAGES))
ifneq ($(SAN),)
CFLAGS_ALL += -fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer
LDFLAGS_ALL += -fsanitize=$(SAN)
else
CPPFLAGS_ALL += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
endif
ifneq ($(COV),)
CFLAGS_ALL += --coverage -O0
LDFLAGS_ALL += --coverage
endif
ifneq ($(FUZZ),)
CFLAGS_ALL += -fsanitize=fuzzer-no-link
CPPFLAGS_ALL += -DVMKIT_FUZZ
endif
ifdef WERROR_ON
WERROR := -Werror
endif

Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-4s %s\n' '$(1)' '$(2)')

.PHONY: all lib unit fuzzers tools man completions lint format check test fuzz bench cov-report install \
	install-strip uninstall clean help FORCE
all: $(BINARIES) $(PLUGINS) $(GUEST_PROGRAMS)	## the programs (the default)
lib: $(LIBRARY)			## libcommon alone
unit: $(UNIT_TESTS)		## unit tests, built
fuzzers: $(FUZZERS)		## fuzz targets, built: libFuzzer with FUZZ=1, else a driver that replays files
tools: $(TOOLS)			## small programs the tests use
man: $(MAN_PAGES)		## man pages into $(BUILD)/man, from the option tables

# A change of compiler or flags rebuilds; an unchanged line leaves the stamp's time alone.
# Three lines, which tests/lint reads too: compiler, flags, linker flags.
quote = '$(subst ','\'',$(1))'
FLAGS_TEXT = printf '%s\n' $(call quote,$(CC)) $(call quote,$(CPPFLAGS_ALL) $(CFLAGS_ALL)) $(call quote,$(LDFLAGS_ALL))
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@$(FLAGS_TEXT) | cmp -s - $@ || $(FLAGS_TEXT) >$@

# The archive is made anew when the list of its members changes: a deleted source leaves no object behind.
$(BUILD)/objects: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' $(LIB_OBJECTS) | cmp -s - $@ || printf '%s\n' $(LIB_OBJECTS) >$@

$(LIBRARY): $(LIB_OBJECTS) $(BUILD)/objects
	$(call say,AR,$@)
	@rm -f $@
	$(Q)$(AR) rcs $@ $(LIB_OBJECTS)

$(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(conversion) -c -o $@ $<

define program_rule
$$(BUILD)/bin/$(1): $$(patsubst %.c,$$(BUILD)/%.o,$$(sort $$(wildcard cmd/$(1)/*.c))) $$(LIBRARY)
	@mkdir -p $$(@D)
	$$(call say,LD,$$@)
	$$(Q)$$(CC) $$(LDFLAGS_ALL) -o $$@ $$^ $$(LIBS)
endef
$(foreach p,$(PROGRAMS),$(eval $(call program_rule,$(p))))
ifneq ($(SAN),)
# AddressSanitizer looks up the xdr functions that it wraps when a program starts; libvirt brings libtirpc, which has
# them, only later, and then they are called at address 0.
$(BUILD)/bin/vmctl $(BUILD)/bin/vmbackup $(BUILD)/bin/vmsnap $(BUILD)/tools/guard: LIBS += -Wl,--no-as-needed $(wildcard /usr/lib/*-linux-gnu/libtirpc.so.3)
endif

$(BUILD)/libexec/vmkit/nbdkit-%-plugin.so: $(BUILD)/cmd/%/plugin/plugin.o $(LIBRARY)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(filter-out -pie,$(LDFLAGS_ALL)) -shared -o $@ $^ $(LIBS)

$(BUILD)/libexec/vmkit/vmrun-init: $(wildcard cmd/vmrun/guest/*.[ch]) $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) -std=gnu17 -D_GNU_SOURCE $(WARNINGS) $(WERROR) -O2 -fstack-protector-strong -static -s -I. -o $@ $(filter %.c,$^)

$(BUILD)/unit/%: $(BUILD)/tests/unit/%.o $(UNIT_SHARED) $(LIBRARY)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(UNIT_LIBS) $(LIBS)

$(BUILD)/fuzz/%: $(BUILD)/tests/fuzz/%.o $(FUZZ_SHARED) $(if $(FUZZ),,$(BUILD)/tests/fuzz/standalone.o) $(LIBRARY)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) $(if $(FUZZ),-fsanitize=fuzzer) -o $@ $^ $(LIBS)

$(BUILD)/tools/%: $(BUILD)/tests/tools/%.o $(LIBRARY)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

# Without sanitizers, whose runtime must be the first that is loaded.
$(BUILD)/tools/%.so: tests/preload/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) -D_GNU_SOURCE -D_LARGEFILE64_SOURCE $(filter-out -Wmissing-prototypes,$(WARNINGS)) $(WERROR) -O2 -fPIC -shared \
		-o $@ $< -ldl

$(BUILD)/man/%.1: $(BUILD)/bin/%
	@mkdir -p $(@D)
	$(call say,MAN,$@)
	$(Q)$< __man >$@.new && mv $@.new $@

completions: $(BINARIES)	## completions/ anew, from the option tables; commit what changes
	$(Q)mkdir -p completions; for p in $(PROGRAMS); do scripts/completions.sh $(BUILD)/bin completions $$p || exit 1; done

test: all unit fuzzers tools	## unit tests and bats with this build, two files at a time
	$(Q)tests/run-unit.sh $(BUILD) && tests/run-bats.sh $(BUILD)

check:				## everything: ./check
	$(Q)./check

lint: all			## tests/lint: layers, formats, options, styles, clang-tidy, cppcheck, shellcheck
	$(Q)tests/lint/run.sh $(BUILD)

format:				## every source as clang-format leaves it
	$(Q)find libcommon cmd tests bench -name '*.[ch]' | xargs clang-format -i

fuzz:				## each fuzz target for FUZZ_SECONDS seconds, with clang
	$(Q)$(MAKE) --no-print-directory FUZZ=1 BUILD=build-fuzz fuzzers
	$(Q)tests/fuzz/run.sh build-fuzz $(FUZZ_SECONDS)

bench: all			## BENCH_RUNS paired runs against qemu-img, zstd and borg; see bench/README.md
	$(Q)bench/run.sh -n $(BENCH_RUNS) $(BUILD)

cov-report:			## tests with coverage, then lines covered by file
	$(Q)$(MAKE) --no-print-directory COV=1 BUILD=build-cov all unit fuzzers tools
	$(Q)tests/coverage.sh build-cov

bindir := $(PREFIX)/bin
libexecdir := $(PREFIX)/libexec/vmkit
man1dir := $(PREFIX)/share/man/man1
docdir := $(PREFIX)/share/doc/vmkit
unitdir := $(PREFIX)/lib/systemd/system
userunitdir := $(PREFIX)/lib/systemd/user
bashdir := $(PREFIX)/share/bash-completion/completions
fishdir := $(PREFIX)/share/fish/vendor_completions.d
# Debian's zsh reads vendor-completions below /usr and site-functions below /usr/local.
zshdir := $(PREFIX)/share/zsh/$(if $(filter /usr,$(PREFIX)),vendor-completions,site-functions)
INSTALL ?= install
STRIP_FLAG :=

install: all man		## programs, man pages, completions, documents; DESTDIR= PREFIX=
	$(INSTALL) -d $(addprefix $(DESTDIR),$(bindir) $(man1dir) $(docdir)/docs $(bashdir) $(zshdir) $(fishdir))
	$(INSTALL) -m 755 $(STRIP_FLAG) $(BINARIES) $(DESTDIR)$(bindir)
	$(INSTALL) -d $(DESTDIR)$(libexecdir)
	$(INSTALL) -m 755 $(GUEST_PROGRAMS) $(DESTDIR)$(libexecdir)
ifneq ($(PLUGINS),)
	$(INSTALL) -m 644 $(STRIP_FLAG) $(PLUGINS) $(DESTDIR)$(libexecdir)
endif
	$(INSTALL) -m 644 $(MAN_PAGES) $(DESTDIR)$(man1dir)
	$(INSTALL) -m 644 LICENSE README.md $(DESTDIR)$(docdir)
	$(INSTALL) -m 644 $(wildcard docs/*.md docs/*.conf docs/*.json) $(DESTDIR)$(docdir)/docs
	$(INSTALL) -d $(DESTDIR)$(unitdir) $(DESTDIR)$(userunitdir)
	$(INSTALL) -m 644 $(wildcard systemd/*.timer) $(DESTDIR)$(unitdir)
	set -e; for f in $(wildcard systemd/*.service); do \
		sed 's|@bindir@|$(bindir)|' $$f >$(DESTDIR)$(unitdir)/$${f##*/}; \
		chmod 644 $(DESTDIR)$(unitdir)/$${f##*/}; \
	done
	set -e; for f in $(wildcard systemd/user/*.service); do \
		sed 's|@bindir@|$(bindir)|' $$f >$(DESTDIR)$(userunitdir)/$${f##*/}; \
		chmod 644 $(DESTDIR)$(userunitdir)/$${f##*/}; \
	done
	set -e; for p in $(PROGRAMS); do \
		$(INSTALL) -m 644 completions/$$p.bash $(DESTDIR)$(bashdir)/$$p; \
		$(INSTALL) -m 644 completions/$$p.zsh $(DESTDIR)$(zshdir)/_$$p; \
		$(INSTALL) -m 644 completions/$$p.fish $(DESTDIR)$(fishdir)/$$p.fish; \
	done

install-strip:			## as install, programs without debugging symbols
	$(Q)$(MAKE) --no-print-directory install STRIP_FLAG=-s

uninstall:			## what install put there; give the same DESTDIR and PREFIX
	for p in $(PROGRAMS); do \
		rm -f $(DESTDIR)$(bindir)/$$p $(DESTDIR)$(man1dir)/$$p.1 $(DESTDIR)$(bashdir)/$$p \
			$(DESTDIR)$(zshdir)/_$$p $(DESTDIR)$(fishdir)/$$p.fish; \
	done
	rm -f $(addprefix $(DESTDIR)$(libexecdir)/,$(notdir $(PLUGINS) $(GUEST_PROGRAMS)))
	rm -rf $(DESTDIR)$(docdir)
	rm -f $(addprefix $(DESTDIR)$(unitdir)/,$(notdir $(wildcard systemd/*.*)))
	rm -f $(addprefix $(DESTDIR)$(userunitdir)/,$(notdir $(wildcard systemd/user/*)))

clean:				## every build folder
	rm -rf build build-san build-tsan build-cov build-fuzz

help:				## this list
	@awk '/^[a-z-]+:.*## / { name = $$0; sub(/:.*/, "", name); sub(/.*## /, ""); \
		printf "  make %-14s %s\n", name, $$0 }' Makefile

.PRECIOUS: $(BUILD)/%.o
.DELETE_ON_ERROR:

-include $(wildcard $(LIB_OBJECTS:.o=.d) $(PROGRAM_SOURCES:%.c=$(BUILD)/%.d) $(PLUGIN_SOURCES:%.c=$(BUILD)/%.d) $(UNIT_SHARED:.o=.d) \
	$(FUZZ_SHARED:.o=.d) $(BUILD)/tests/*/*.d)
