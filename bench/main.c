/* Benchmarks that count rather than time. One file a benchmark; see docs/bench.md. */
#include "recovery.h"
#include "wa.h"

#include <stdio.h>
#include <string.h>

static const struct bench {
        const char *name;
        int (*run)(int argc, char **argv, struct err *err);
} benches[] = {
    {"wa", bench_wa},
    {"recovery", bench_recovery},
};

int main(int argc, char **argv)
{
        struct err err = ERR_INIT;

        for (size_t i = 0; i < sizeof(benches) / sizeof(benches[0]); i++) {
                if (argc < 2 || strcmp(argv[1], benches[i].name))
                        continue;
                int rc = benches[i].run(argc - 1, argv + 1, &err);
                if (rc < 0)
                        fprintf(stderr, "bench %s: %s\n", argv[1], err_text(&err, rc));
                return rc < 0 ? 1 : 0;
        }
        fprintf(stderr, "usage: bench wa|recovery [OPTION...]\n");
        return 2;
}
