/* mphalport.h: the fixture has no hardware. SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <stddef.h>

static inline void mp_hal_set_interrupt_char(char c) {
    (void)c;
}
