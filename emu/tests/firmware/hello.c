/* Standard streams, arguments, files and time: what a program expects of its system. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int copy(const char *from, const char *to)
{
    char line[64];
    FILE *in = fopen(from, "r");
    FILE *out = to ? fopen(to, "w") : stdout;
    if (in == NULL || out == NULL) {
        printf("can't open %s: errno %d\n", in ? to : from, errno);
        return 2;
    }
    while (fgets(line, sizeof line, in)) {
        fputs(line, out);
    }
    fseek(in, 0, SEEK_END);
    printf("%ld bytes\n", ftell(in));
    fseek(in, 2, SEEK_SET);
    printf("third is %c\n", fgetc(in));
    fclose(in);
    if (to) {
        fclose(out);
    }
    return 0;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "hello";
    if (strcmp(what, "hello") == 0) {
        printf("hello, world\n");
        fprintf(stderr, "hello, error\n");
        printf("%.3f %.1f\n", 1.0 / 3, (double)((float)argc * 1.5f));
        return 7;
    }
    if (strcmp(what, "args") == 0) {
        for (int i = 1; i < argc; i++) {
            printf("[%s]\n", argv[i]);
        }
        return argc;
    }
    if (strcmp(what, "copy") == 0) {
        return copy(argv[2], argc > 3 ? argv[3] : NULL);
    }
    if (strcmp(what, "input") == 0) {
        char line[64];
        int sum = 0;
        while (fgets(line, sizeof line, stdin)) {
            sum += atoi(line);
        }
        printf("sum %d\n", sum);
        return 0;
    }
    if (strcmp(what, "time") == 0) {
        printf("%ld %ld\n", (long)time(NULL), (long)clock());
        return 0;
    }
    if (strcmp(what, "memory") == 0) {
        size_t got = 0;
        while (malloc(1000) != NULL) {
            got += 1000;
        }
        printf("%lu\n", (unsigned long)got);
        return 0;
    }
    if (strcmp(what, "remove") == 0) {
        printf("%d %d\n", remove(argv[2]), errno);
        return 0;
    }
    if (strcmp(what, "abort") == 0) {
        abort();
    }
    return 1;
}
