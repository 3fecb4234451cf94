# vmkit: plain GNU make, no configure. See README.md, "Building".
#
#	make [CC=clang] [BUILD=dir]		programs into $(BUILD)/bin
#	make SAN=address,undefined		the same with sanitizers, into build-san
#	make COV=1				the same with coverage, into build-cov
#	make unit fuzz lint man completions bench install

VERSION := 0.1.0
PREFIX ?= /usr/local
DESTDIR ?=
SAN ?=
COV ?=
ifneq ($(SAN),)
BUILD ?= build-san
else ifneq ($(COV),)
BUILD ?= build-cov
else
BUILD ?= build
endif

PACKAGES := jansson libcrypto libzstd libdeflate libisal zlib
UNIT_PACKAGES := cmocka

PROGRAMS := $(notdir $(patsubst %/,%,$(dir $(wildcard cmd/*/main.c))))
LIB_SOURCES := $(shell find libcommon -name '*.c' | LC_ALL=C sort)
LIB_OBJECTS := $(LIB_SOURCES:%.c=$(BUILD)/%.o)
LIBRARY := $(BUILD)/libvmkit.a
BINARIES := $(PROGRAMS:%=$(BUILD)/bin/%)
UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/test_*.c))
TOOLS := $(patsubst tests/tools/%.c,$(BUILD)/tools/%,$(wildcard tests/tools/*.c))

WARNINGS := -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wundef \
	-Wcast-qual -Wwrite-strings -fno-common
CPPFLAGS_ALL := -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -I. -DVMKIT_VERSION='"$(VERSION)"' \
	$(shell pkg-config --cflags $(PACKAGES)) $(CPPFLAGS)
CFLAGS ?= -O2 -g
CFLAGS_ALL = -std=gnu17 $(WARNINGS) $(WERROR) -pthread -fPIE -fstack-protector-strong -MMD -MP $(CFLAGS)
LDFLAGS_ALL = -pthread -pie -Wl,-z,relro,-z,now -Wl,--as-needed $(LDFLAGS)
LIBS := $(shell pkg-config --libs $(PACKAGES))
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
ifdef WERROR_ON
WERROR := -Werror
endif

.PHONY: all lib unit tools clean
all: $(BINARIES)
lib: $(LIBRARY)
unit: $(UNIT_TESTS)
tools: $(TOOLS)

$(LIBRARY): $(LIB_OBJECTS)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -c -o $@ $<

define program_rule
$$(BUILD)/bin/$(1): $$(patsubst %.c,$$(BUILD)/%.o,$$(sort $$(wildcard cmd/$(1)/*.c))) $$(LIBRARY)
	@mkdir -p $$(@D)
	$$(CC) $$(LDFLAGS_ALL) -o $$@ $$^ $$(LIBS)
endef
$(foreach p,$(PROGRAMS),$(eval $(call program_rule,$(p))))

$(BUILD)/unit/%: $(BUILD)/tests/unit/%.o $(LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(shell pkg-config --libs $(UNIT_PACKAGES)) $(LIBS)

$(BUILD)/tools/%: $(BUILD)/tests/tools/%.o $(LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

.PRECIOUS: $(BUILD)/%.o

clean:
	rm -rf build build-san build-cov build-fuzz

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
