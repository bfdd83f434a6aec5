# MicroPython's heap on Knoll, and the Python module `knoll`: a folder for USER_C_MODULES.
#
#   make -C ports/PORT USER_C_MODULES=.../micropython KNOLL_LIBRARY=.../libknoll.a
#
# KNOLL_LIBRARY   libknoll.a of this target, of `cargo xtask micropython --library TARGET`
#                 [dist/micropython/TARGET/libknoll.a, TARGET by the compiler's flags]
# KNOLL_MODULE    0: the heap alone, without the Python module [1]
# KNOLL_ARENA     0: the module without Arena [1]
# KNOLL_COUNTED   0: the module without Counted [1]
# KNOLL_NO_SCAN_BUFFERS  1: no bytes, bytearray or array of small numbers is ever looked into; gc_place.h says what such
#                 a firmware must not do [0]
# KNOLL_SLICE     granules that one step of the sweep looks at; 0: a collection sweeps everything at its end [0]
#
# Nothing of MicroPython is patched. --wrap redirects the calls, a few files are compiled with a header of ours; py/gc.c is compiled and then dropped by
# --gc-sections. A MicroPython version whose py/gc.c has a function that is not in replaced.txt is not built.

comma := ,
KNOLL_DIR := $(USERMOD_DIR)
KNOLL_ROOT := $(abspath $(KNOLL_DIR)/../..)
KNOLL_MODULE ?= 1
KNOLL_SLICE ?= 0
KNOLL_NO_SCAN_BUFFERS ?= 0
KNOLL_ARENA ?= 1
KNOLL_COUNTED ?= 1

# ---------------------------------------------------------------- what is replaced

knoll_listed = $(shell sed -n 's|^$(1) ||p' $(KNOLL_DIR)/replaced.txt)
KNOLL_GC := $(call knoll_listed,collector)
KNOLL_MALLOC := $(call knoll_listed,malloc)

LDFLAGS_USERMOD += $(patsubst %,-Wl$(comma)--wrap=%,$(KNOLL_GC) $(KNOLL_MALLOC))

# Files that tell of contents and lifetimes. `private`: what they need to be built first is built as it was.
define knoll_placed
$(patsubst %.c,$(BUILD)/%.o,$(call knoll_listed,$(1))): $(KNOLL_DIR)/replaced.txt
$(patsubst %.c,$(BUILD)/%.o,$(call knoll_listed,$(1))): private CFLAGS += -DKNOLL_$(1) -include $(KNOLL_DIR)/gc_place.h
endef
$(foreach kind,STR NAME TABLE $(if $(filter 0,$(KNOLL_NO_SCAN_BUFFERS)),,VSTR ARRAY),$(eval $(call knoll_placed,$(kind))))

# ---------------------------------------------------------------- the library

# The Rust target, by what the port tells the compiler. A port that says nothing is this machine's.
knoll_cpu = $(findstring $(1),$(CFLAGS) $(CFLAGS_MCU_$(MCU_SERIES)) $(CFLAGS_CORTEX_M))
KNOLL_FLOAT := $(if $(call knoll_cpu,-mfloat-abi=hard),hf,)
KNOLL_TARGET ?= $(strip \
	$(if $(call knoll_cpu,-mcpu=cortex-m0),thumbv6m-none-eabi,\
	$(if $(call knoll_cpu,-mcpu=cortex-m33),thumbv8m.main-none-eabi$(KNOLL_FLOAT),\
	$(if $(call knoll_cpu,-mcpu=cortex-m3),thumbv7m-none-eabi,\
	$(if $(call knoll_cpu,-mcpu=cortex-m4)$(call knoll_cpu,-mcpu=cortex-m7),thumbv7em-none-eabi$(KNOLL_FLOAT),\
	$(if $(call knoll_cpu,-march=rv32imac),riscv32imac-unknown-none-elf,\
	$(if $(call knoll_cpu,-m32),i686-unknown-linux-gnu,x86_64-unknown-linux-gnu)))))))
KNOLL_LIBRARY ?= $(KNOLL_ROOT)/dist/micropython/$(KNOLL_TARGET)/libknoll.a

ifeq ($(wildcard $(KNOLL_LIBRARY)),)
$(error Knoll's library is not at $(KNOLL_LIBRARY); `cargo xtask micropython --library $(KNOLL_TARGET)` makes it)
endif

CFLAGS_USERMOD += -I$(KNOLL_DIR) -I$(KNOLL_ROOT)/include -DKNOLL_SLICE=$(KNOLL_SLICE)
CFLAGS_USERMOD += -DKNOLL_ARENA=$(KNOLL_ARENA) -DKNOLL_COUNTED=$(KNOLL_COUNTED) -DKNOLL_NO_SCAN_BUFFERS=$(KNOLL_NO_SCAN_BUFFERS)
# Some ports name LDFLAGS before the objects: without -u nothing would be wanted yet when the library is read.
LDFLAGS_USERMOD += -Wl,-u,kn_traced_create_plain $(KNOLL_LIBRARY)

# ---------------------------------------------------------------- the sources

SRC_USERMOD_LIB_C += $(KNOLL_DIR)/gc_swap.c $(KNOLL_DIR)/gc_blocks.c $(KNOLL_DIR)/gc_place.c $(KNOLL_DIR)/gc_map.c
ifneq ($(KNOLL_MODULE),0)
SRC_USERMOD_C += $(wildcard $(KNOLL_DIR)/module*.c)
endif

# ---------------------------------------------------------------- the check

# What a link cannot notice: a call that is not redirected reaches py/gc.c, whose state nobody has initialised.
$(BUILD)/knoll/gc_swap.o: $(BUILD)/knoll/gc_symbols.checked $(KNOLL_DIR)/micropython.mk $(KNOLL_LIBRARY)
$(BUILD)/knoll/gc_symbols.checked: $(BUILD)/py/gc.o $(KNOLL_DIR)/check_symbols.sh | $(BUILD)/knoll/
	$(ECHO) "CHECK the functions of py/gc.c"
	$(Q)sh $(KNOLL_DIR)/check_symbols.sh $(CROSS_COMPILE)nm $(BUILD)/py/gc.o "$(KNOLL_GC)"
	$(Q)$(TOUCH) $@
