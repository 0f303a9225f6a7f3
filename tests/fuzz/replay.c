/* Stands in for libFuzzer: runs a fuzzer over every file of a corpus, and over mutations of them
 * that are the same in every run.
 *
 *   replay_NAME CORPUS_DIR [MUTATIONS_PER_FILE]
 */
#include "base/rng.h"

#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INPUT_MAX = 1 << 16, MUTATIONS = 2000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* In a buffer of exactly its size, so that a sanitizer sees every step beyond it. */
static void feed(const uint8_t *data, size_t len)
{
        uint8_t *exact = calloc(1, len ? len : 1);

        if (!exact)
                abort();
        memcpy(exact, data, len);
        LLVMFuzzerTestOneInput(exact, len);
        free(exact);
}

/* One to four changes: a flipped bit, a byte from elsewhere, a part cut out or doubled. */
static size_t mutate(struct rng *rng, uint8_t *buf, size_t len)
{
        for (uint64_t n = 1 + rng_below(rng, 4); n > 0 && len > 0; n--) {
                size_t at = rng_below(rng, len), part = 1 + rng_below(rng, len - at);

                switch (rng_below(rng, 5)) {
                case 0:
                        buf[at] ^= (uint8_t)(1u << rng_below(rng, 8));
                        break;
                case 1:
                        buf[at] = buf[rng_below(rng, len)];
                        break;
                case 2:
                        memmove(buf + at, buf + at + part, len - at - part);
                        len -= part;
                        break;
                case 3:
                        if (len + part > INPUT_MAX)
                                break;
                        memmove(buf + at + part, buf + at, len - at);
                        len += part;
                        break;
                default:
                        buf[at] = (uint8_t)rng_next(rng);
                        break;
                }
        }
        return len;
}

static size_t replay_file(const char *path, unsigned mutations, struct rng *rng)
{
        static uint8_t original[INPUT_MAX], changed[INPUT_MAX];
        FILE *f = fopen(path, "re");

        if (!f)
                return 0;
        size_t len = fread(original, 1, sizeof(original), f);
        fclose(f);
        feed(original, len);
        for (unsigned i = 0; i < mutations; i++) {
                memcpy(changed, original, len);
                feed(changed, mutate(rng, changed, len));
        }
        return 1 + mutations;
}

int main(int argc, char **argv)
{
        struct dirent **names = NULL;
        struct rng rng = {1};
        size_t inputs = 0;
        int n = argc > 1 ? scandir(argv[1], &names, NULL, alphasort) : -1;
        unsigned mutations = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : MUTATIONS;

        feed((const uint8_t *)"", 0);
        for (int i = 0; i < n; i++) {
                char path[4096];

                snprintf(path, sizeof(path), "%s/%s", argv[1], names[i]->d_name);
                if (names[i]->d_name[0] != '.')
                        inputs += replay_file(path, mutations, &rng);
                free(names[i]);
        }
        free(names);
        printf("%zu inputs\n", inputs);
        return inputs ? 0 : 1;
}
