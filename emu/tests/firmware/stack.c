/* Known stack depths. */
#include <alloca.h>
#include <string.h>

#define NOINLINE __attribute__((noinline, noclone))

/* A leaf that pushes 8 bytes and pops them in the same block. */
int shallow(int n);
__asm__(".section .text.shallow,\"ax\"\n"
        ".syntax unified\n"
        ".thumb\n.thumb_func\n.global shallow\n.type shallow, %function\n"
        "shallow:\n\tpush {r4, r5}\n\tpop {r4, r5}\n\tbx lr\n"
        ".size shallow, . - shallow\n.text\n");

/* 8 bytes of its own, 496 of a frame, and shallow's 8. */
int deep(int n);
__asm__(".section .text.deep,\"ax\"\n"
        ".syntax unified\n"
        ".thumb\n.thumb_func\n.global deep\n.type deep, %function\n"
        "deep:\n\tpush {r4, lr}\n\tsub sp, #496\n\tbl shallow\n\tadd sp, #496\n\tpop {r4, pc}\n"
        ".size deep, . - deep\n.text\n");

NOINLINE int dynamic(int bytes);
NOINLINE int dynamic(int bytes)
{
    char *text = alloca((size_t)bytes);
    memset(text, 1, (size_t)bytes);
    __asm__ volatile("" ::"r"(text) : "memory");
    return text[bytes / 2];
}

int main(int argc, char **argv)
{
    (void)argv;
    return shallow(argc) + deep(argc) + dynamic(argc * 3000) - shallow(argc) > 100;
}
