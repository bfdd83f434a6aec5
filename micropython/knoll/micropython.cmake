# The same as micropython.mk, for the ports of MicroPython that CMake builds (rp2, esp32):
#
#   cmake … -DUSER_C_MODULES=…/micropython/knoll/micropython.cmake -DKNOLL_LIBRARY=…/libknoll.a
#
# Variables are those of micropython.mk: KNOLL_LIBRARY, KNOLL_TARGET, KNOLL_MODULE, KNOLL_ARENA, KNOLL_COUNTED,
# KNOLL_NO_SCAN_BUFFERS, KNOLL_SLICE. What is replaced is in replaced.txt for both.

cmake_minimum_required(VERSION 3.19)

set(KNOLL_DIR ${CMAKE_CURRENT_LIST_DIR})
get_filename_component(KNOLL_ROOT ${KNOLL_DIR}/../.. ABSOLUTE)

foreach(setting MODULE=1 ARENA=1 COUNTED=1 NO_SCAN_BUFFERS=0 SLICE=0)
    string(REPLACE "=" ";" setting ${setting})
    list(GET setting 0 name)
    list(GET setting 1 default)
    if(NOT DEFINED KNOLL_${name})
        set(KNOLL_${name} ${default})
    endif()
endforeach()

# ---------------------------------------------------------------- what is replaced

file(STRINGS ${KNOLL_DIR}/replaced.txt knoll_replaced REGEX "^[a-zA-Z]+ ")
set(KNOLL_GC)
set(KNOLL_MALLOC)
set(knoll_kinds STR NAME TABLE)
if(KNOLL_NO_SCAN_BUFFERS)
    list(APPEND knoll_kinds VSTR ARRAY)
endif()
foreach(line IN LISTS knoll_replaced)
    string(REPLACE " " ";" line ${line})
    list(GET line 0 kind)
    list(GET line 1 name)
    if(kind STREQUAL "collector")
        list(APPEND KNOLL_GC ${name})
    elseif(kind STREQUAL "malloc")
        list(APPEND KNOLL_MALLOC ${name})
    elseif(kind IN_LIST knoll_kinds)
        set_property(SOURCE ${MICROPY_DIR}/${name} APPEND PROPERTY COMPILE_DEFINITIONS KNOLL_${kind})
        set_property(SOURCE ${MICROPY_DIR}/${name} APPEND PROPERTY COMPILE_OPTIONS -include ${KNOLL_DIR}/gc_place.h)
        set_property(SOURCE ${MICROPY_DIR}/${name} APPEND PROPERTY OBJECT_DEPENDS ${KNOLL_DIR}/gc_place.h)
    endif()
endforeach()

# ---------------------------------------------------------------- the library

if(NOT KNOLL_TARGET)
    set(knoll_targets
        cortex-m0plus=thumbv6m-none-eabi cortex-m3=thumbv7m-none-eabi cortex-m4=thumbv7em-none-eabi
        cortex-m7=thumbv7em-none-eabi cortex-m33=thumbv8m.main-none-eabi x86_64=x86_64-unknown-linux-gnu)
    foreach(pair IN LISTS knoll_targets)
        string(REPLACE "=" ";" pair ${pair})
        list(GET pair 0 processor)
        if(CMAKE_SYSTEM_PROCESSOR STREQUAL processor)
            list(GET pair 1 KNOLL_TARGET)
        endif()
    endforeach()
endif()
if(NOT KNOLL_LIBRARY)
    set(KNOLL_LIBRARY ${KNOLL_ROOT}/dist/micropython/${KNOLL_TARGET}/libknoll.a)
endif()
if(NOT EXISTS ${KNOLL_LIBRARY})
    message(FATAL_ERROR "Knoll's library is not at ${KNOLL_LIBRARY}; `cargo xtask micropython --library TARGET` makes it")
endif()

# ---------------------------------------------------------------- the folder's own sources

set(knoll_sources gc_swap.c gc_blocks.c gc_place.c gc_map.c)
if(KNOLL_MODULE)
    file(GLOB knoll_module RELATIVE ${KNOLL_DIR} ${KNOLL_DIR}/module*.c)
    list(APPEND knoll_sources ${knoll_module})
endif()
list(TRANSFORM knoll_sources PREPEND ${KNOLL_DIR}/)

set(knoll_definitions
    KNOLL_ARENA=${KNOLL_ARENA} KNOLL_COUNTED=${KNOLL_COUNTED} KNOLL_SLICE=${KNOLL_SLICE}
    KNOLL_NO_SCAN_BUFFERS=${KNOLL_NO_SCAN_BUFFERS})
# MicroPython looks for interned strings and root pointers with settings of its own.
list(APPEND MICROPY_CPP_DEF_EXTRA ${knoll_definitions})

add_library(usermod_knoll INTERFACE)
target_sources(usermod_knoll INTERFACE ${knoll_sources})
target_include_directories(usermod_knoll INTERFACE ${KNOLL_DIR} ${KNOLL_ROOT}/include)
target_compile_definitions(usermod_knoll INTERFACE ${knoll_definitions})
list(TRANSFORM KNOLL_GC PREPEND "LINKER:--wrap=" OUTPUT_VARIABLE knoll_wraps_gc)
list(TRANSFORM KNOLL_MALLOC PREPEND "LINKER:--wrap=" OUTPUT_VARIABLE knoll_wraps_malloc)
# Without -u nothing may be wanted yet when the library is read.
target_link_options(usermod_knoll INTERFACE ${knoll_wraps_gc} ${knoll_wraps_malloc} LINKER:-u,kn_traced_create_plain)
target_link_libraries(usermod_knoll INTERFACE ${KNOLL_LIBRARY})
target_link_libraries(usermod INTERFACE usermod_knoll)

# ---------------------------------------------------------------- the check

# What a link cannot notice: a call that is not redirected reaches py/gc.c, whose state nobody has initialised. The
# firmware's target is not there yet when this file is read.
function(knoll_check)
    list(JOIN KNOLL_GC " " known)
    add_custom_command(TARGET ${MICROPY_TARGET} POST_BUILD
        COMMAND sh ${KNOLL_DIR}/check_symbols.sh ${CMAKE_NM}
            "$<FILTER:$<TARGET_OBJECTS:${MICROPY_TARGET}>,INCLUDE,py/gc\\.c\\.[a-z]+$>" ${known}
        COMMENT "Checking the functions of py/gc.c" VERBATIM)
endfunction()
cmake_language(DEFER CALL knoll_check)
