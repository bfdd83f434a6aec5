# MicroPython's heap on Knoll, and the Python module `knoll`: a folder for USER_C_MODULES.
#
#   make -C ports/PORT USER_C_MODULES=.../micropython KNOLL_LIBRARY=.../libknoll.a
#
# KNOLL_LIBRARY   libknoll.a of this target (`cargo xtask dist`) [dist/TARGET/libknoll.a, TARGET by the compiler's flags]
# KNOLL_MODULE    0: the heap alone, without the Python module [1]
# KNOLL_ARENA     0: the module without Arena [1]
# KNOLL_COUNTED   0: the module without Counted [1]
# KNOLL_SLICE     granules that one step of the sweep looks at; 0: a collection sweeps everything at its end [0]
#
# Nothing of MicroPython is patched. --wrap redirects the calls; py/gc.c is compiled and then dropped by
# --gc-sections. A MicroPython version whose py/gc.c has a function that is not in KNOLL_GC does not link.

comma := ,
KNOLL_DIR := $(USERMOD_DIR)
KNOLL_ROOT := $(abspath $(KNOLL_DIR)/../..)
KNOLL_MODULE ?= 1
KNOLL_SLICE ?= 0
KNOLL_ARENA ?= 1
KNOLL_COUNTED ?= 1

# ---------------------------------------------------------------- what is replaced

# Every function that py/gc.c gives to others.
KNOLL_GC := gc_init gc_lock gc_unlock gc_is_locked gc_collect_start gc_collect_root gc_collect_end gc_sweep_all
KNOLL_GC += gc_alloc gc_free gc_nbytes gc_realloc gc_info gc_dump_info gc_dump_alloc_table
# With MICROPY_GC_SPLIT_HEAP there is one more.
KNOLL_GC += gc_add

# What tells of lifetimes and contents (gc_place.c).
KNOLL_PLACED := mp_map_lookup qstr_from_strn vstr_init vstr_init_len

LDFLAGS_USERMOD += $(patsubst %,-Wl$(comma)--wrap=%,$(KNOLL_GC) $(KNOLL_PLACED))

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
KNOLL_LIBRARY ?= $(KNOLL_ROOT)/dist/$(KNOLL_TARGET)/libknoll.a

ifeq ($(wildcard $(KNOLL_LIBRARY)),)
$(error Knoll's library is not at $(KNOLL_LIBRARY); `cargo xtask dist --target $(KNOLL_TARGET)` makes it)
endif

CFLAGS_USERMOD += -I$(KNOLL_DIR) -I$(KNOLL_ROOT)/include -DKNOLL_SLICE=$(KNOLL_SLICE) -DKNOLL_ARENA=$(KNOLL_ARENA) -DKNOLL_COUNTED=$(KNOLL_COUNTED)
# Some ports name LDFLAGS before the objects: without -u nothing would be wanted yet when the library is read.
LDFLAGS_USERMOD += -Wl,-u,kn_traced_create $(KNOLL_LIBRARY)

# ---------------------------------------------------------------- the sources

SRC_USERMOD_LIB_C += $(KNOLL_DIR)/gc_swap.c $(KNOLL_DIR)/gc_place.c $(KNOLL_DIR)/gc_map.c
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
