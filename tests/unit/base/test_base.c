/* src/base: checksums, bitmaps, sizes, UUIDs, little-endian fields, error text. */
#include "base/bitmap.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/eventlog.h"
#include "base/le.h"
#include "base/rng.h"
#include "base/size.h"
#include "base/uuid.h"
#include "t_suite.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static void test_crc32c_is_the_standard_value_and_chains(void)
{
        CU_ASSERT_EQUAL(crc32c(0, "123456789", 9), 0xe3069283);
        CU_ASSERT_EQUAL(crc32c(crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
        CU_ASSERT_EQUAL(crc32c(0, "", 0), 0);
}

/* Every operation against an array of bools. */
static void test_bitmap_agrees_with_an_array(void)
{
        enum { N = 300 };
        bool model[N] = {false};
        struct bitmap bm;
        struct rng rng = {1};

        CU_ASSERT_EQUAL_FATAL(bitmap_init(&bm, N), 0);
        for (int round = 0; round < 2000; round++) {
                uint64_t first = rng_below(&rng, N);
                uint64_t n = rng_below(&rng, N - first + 1);
                bool set = rng_chance(&rng, 1, 2);
                (set ? bitmap_set_range : bitmap_clear_range)(&bm, first, n);
                for (uint64_t i = first; i < first + n; i++)
                        model[i] = set;
                uint64_t from = rng_below(&rng, N + 1), want_set = from, want_clear = from,
                         count = 0;
                while (want_set < N && !model[want_set])
                        want_set++;
                while (want_clear < N && model[want_clear])
                        want_clear++;
                for (int i = 0; i < N; i++)
                        count += model[i];
                CU_ASSERT_EQUAL(bitmap_next_set(&bm, from), want_set);
                CU_ASSERT_EQUAL(bitmap_next_clear(&bm, from), want_clear);
                CU_ASSERT_EQUAL(bm.nset, count);
        }
        CU_ASSERT_EQUAL(bitmap_resize(&bm, 64), 0);
        CU_ASSERT_EQUAL(bitmap_next_set(&bm, 63) == 63, model[63]);
        CU_ASSERT_FALSE(bitmap_test(&bm, 64));
        bitmap_fini(&bm);
}

static void test_size_text(void)
{
        static const struct {
                const char *text;
                int rc;
                uint64_t bytes;
        } rows[] = {
            {"0", 0, 0},
            {"512", 0, 512},
            {"1K", 0, 1024},
            {"1k", 0, 1024},
            {"4KiB", 0, 4096},
            {"1G", 0, 1 << 30},
            {"2MB", 0, 2 << 20},
            {"", -EINVAL, 0},
            {"-1", -EINVAL, 0},
            {"1X", -EINVAL, 0},
            {"1 G", -EINVAL, 0},
            {"8E", -ERANGE, 0},
            {"99999999999999999999", -ERANGE, 0},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                uint64_t bytes = 0;
                CU_ASSERT_EQUAL(size_parse(rows[i].text, &bytes), rows[i].rc);
                CU_ASSERT_EQUAL(bytes, rows[i].bytes);
        }
        char text[16];
        size_format(1536, text);
        CU_ASSERT_STRING_EQUAL(text, "1.50 KiB");
        size_format(UINT64_MAX, text);
        CU_ASSERT_STRING_EQUAL(text, "16.0 EiB");
}

static void test_uuid_text_round_trip_and_refusals(void)
{
        const char *text = "11111111-2222-4333-8444-5555deadbeef";
        char back[UUID_TEXT_LEN];
        struct uuid u;

        CU_ASSERT_EQUAL(uuid_parse_text(text, &u), 0);
        uuid_format(&u, back);
        CU_ASSERT_STRING_EQUAL(back, text);
        CU_ASSERT_EQUAL(uuid_parse_text("", &u), -EINVAL);
        CU_ASSERT_EQUAL(uuid_parse_text("11111111-2222-4333-8444-5555deadbee", &u), -EINVAL);
        CU_ASSERT_EQUAL(uuid_parse_text("11111111-2222-4333-8444-5555deadbeef0", &u), -EINVAL);
        CU_ASSERT_EQUAL(uuid_parse_text("1111111122224333-8444-5555deadbeef", &u), -EINVAL);
}

static void test_little_endian_at_any_alignment(void)
{
        uint8_t b[12] = {0};
        put_le64(b + 3, UINT64_C(0x0102030405060708));
        CU_ASSERT_EQUAL(b[3], 8);
        CU_ASSERT_EQUAL(get_le64(b + 3), UINT64_C(0x0102030405060708));
        CU_ASSERT_EQUAL(get_le32(b + 3), 0x05060708);
        CU_ASSERT_EQUAL(get_le16(b + 3), 0x0708);
}

static void test_error_text_is_prefixed_and_truncated(void)
{
        struct err err = ERR_INIT;
        CU_ASSERT_EQUAL(err_set(&err, EBUSY, "volume '%s' is in use", "v1"), -EBUSY);
        err_prefix(&err, "pool '%s'", "p");
        CU_ASSERT_STRING_EQUAL(err.msg, "pool 'p': volume 'v1' is in use");
        CU_ASSERT_STRING_EQUAL(err_text(NULL, -ENOENT), strerror(ENOENT));
        for (int i = 0; i < 100; i++)
                err_prefix(&err, "0123456789");
        CU_ASSERT_EQUAL(strlen(err.msg), sizeof(err.msg) - 1);
        CU_ASSERT_EQUAL(err_set_sys(NULL, EIO, "x"), -EIO);
}

static void test_event_lines_are_whole_and_bounded(void)
{
        char path[] = "/tmp/eventlog.XXXXXX", line[8192], big[5000];
        int fd = mkstemp(path);

        CU_ASSERT_FATAL(fd >= 0);
        close(fd);
        eventlog_emit("before", NULL); /* closed: nowhere */
        CU_ASSERT_EQUAL(eventlog_open(path), 0);
        memset(big, 'x', sizeof(big) - 1);
        big[sizeof(big) - 1] = 0;
        eventlog_emit("plain", NULL);
        eventlog_emit("named", "\"volume\":\"%s\"", "v1");
        eventlog_emit("big", "\"text\":\"%s\"", big);
        eventlog_close();
        FILE *f = fopen(path, "r");
        CU_ASSERT_PTR_NOT_NULL_FATAL(f);
        CU_ASSERT_PTR_NOT_NULL(fgets(line, sizeof(line), f));
        CU_ASSERT_PTR_NOT_NULL(strstr(line, "\"n\":1,\"event\":\"plain\"}\n"));
        CU_ASSERT_PTR_NOT_NULL(fgets(line, sizeof(line), f));
        CU_ASSERT_PTR_NOT_NULL(strstr(line, "\"event\":\"named\",\"volume\":\"v1\"}\n"));
        CU_ASSERT_PTR_NOT_NULL(fgets(line, sizeof(line), f));
        CU_ASSERT_PTR_NOT_NULL(strstr(line, "\"event\":\"big\",\"truncated\":true}\n"));
        CU_ASSERT_PTR_NULL(fgets(line, sizeof(line), f));
        fclose(f);
        unlink(path);
}

static const struct t_case cases[] = {
    T_CASE(test_event_lines_are_whole_and_bounded),
    T_CASE(test_crc32c_is_the_standard_value_and_chains),
    T_CASE(test_bitmap_agrees_with_an_array),
    T_CASE(test_size_text),
    T_CASE(test_uuid_text_round_trip_and_refusals),
    T_CASE(test_little_endian_at_any_alignment),
    T_CASE(test_error_text_is_prefixed_and_truncated),
};
T_MAIN("base", cases)
