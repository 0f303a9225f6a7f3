/* What sysfs says of a zoned block device becomes a geometry, or a refusal. */
#include "pool/device/zbd_limits.h"
#include "tests/unit/device/t_device.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* The attributes of a device that is taken. */
static const char *const sane[][2] = {
    {"zoned", "host-managed"},     {"chunk_sectors", "65536"}, {"nr_zones", "16"},
    {"logical_block_size", "512"}, {"max_open_zones", "0"},    {"max_active_zones", "0"},
    {"max_sectors_kb", "512"},     {"max_segments", "127"},    {"rotational", "0"},
};

static void t_attribute(const char *name, const char *text)
{
        FILE *f = fopen(t_path(name), "w");
        CU_ASSERT_PTR_NOT_NULL_FATAL(f);
        fprintf(f, "%s\n", text);
        fclose(f);
}

/* changed: NAME=TEXT where the device is not as the sane one, NAME= for an attribute it lacks. */
static void t_attributes(const char *changed)
{
        char copy[256], *rest = copy, *word;

        for (size_t i = 0; i < ARRAY_SIZE(sane); i++)
                t_attribute(sane[i][0], sane[i][1]);
        snprintf(copy, sizeof(copy), "%s", changed);
        while ((word = strsep(&rest, " "))) {
                char *text = strchr(word, '=');
                if (!text)
                        continue;
                *text++ = '\0';
                if (*text)
                        t_attribute(word, text);
                else
                        unlink(t_path(word));
        }
}

static const struct {
        const char *what;
        const char *changed;
        int rc;
        const char *text; /* of the refusal */
        struct zdev_geometry geo;
} limit_rows[] = {
    {"ZNS",
     "nr_zones=128 logical_block_size=4096 max_open_zones=14 max_active_zones=14",
     0,
     NULL,
     {128, 8192, 14, 14, 127, false}},
    {"SMR",
     "chunk_sectors=524288 nr_zones=74508 max_open_zones=128 max_sectors_kb=1280 max_segments=168 "
     "rotational=1",
     0,
     NULL,
     {74508, 65536, 128, 0, 168, true}},
    {"only active zones limited",
     "max_active_zones=9 max_sectors_kb=4096 max_segments=1024",
     0,
     NULL,
     {16, 8192, 9, 9, 256, false}},
    {"attributes missing",
     "max_open_zones= max_active_zones= max_sectors_kb= max_segments= rotational=",
     0,
     NULL,
     {16, 8192, 0, 0, 256, false}},
    {"tiny requests", "max_sectors_kb=2 max_segments=1", 0, NULL, {16, 8192, 0, 0, 1, false}},
    {"not zoned",
     "zoned=none chunk_sectors=0 nr_zones=0",
     -EINVAL,
     "is not a zoned block device",
     {0}},
    {"no such attribute",
     "zoned= chunk_sectors=0 nr_zones=0",
     -EINVAL,
     "is not a zoned block device",
     {0}},
    {"host-aware", "zoned=host-aware", -ENOTSUP, "of the kind 'host-aware'", {0}},
    {"a kind of the future", "zoned=host-guided", -ENOTSUP, "of the kind 'host-guided'", {0}},
    {"odd zones", "chunk_sectors=65537", -EINVAL, "multiples of 4096", {0}},
    {"no zone size", "chunk_sectors=x", -EINVAL, "multiples of 4096", {0}},
    {"overflow", "chunk_sectors=18446744073709551615", -EINVAL, "multiples of 4096", {0}},
    {"large blocks", "logical_block_size=8192", -EINVAL, "logical blocks of 8192", {0}},
    {"few zones", "nr_zones=15", -EINVAL, "only 15 zones", {0}},
    {"too many zones", "nr_zones=4294967296", -EINVAL, "more zones than", {0}},
};

static void test_limits_become_a_geometry_or_a_refusal(void)
{
        for (size_t i = 0; i < ARRAY_SIZE(limit_rows); i++) {
                struct zbd_limits limits;
                struct zdev_geometry geo = {0};
                struct err err = ERR_INIT;

                t_attributes(limit_rows[i].changed);
                zbd_limits_read(t_path(""), &limits);
                int rc = zbd_limits_geometry(&limits, "/dev/z", &geo, &err);
                const struct zdev_geometry *want = &limit_rows[i].geo;
                bool right = rc == limit_rows[i].rc && geo.nr_zones == want->nr_zones &&
                             geo.zone_blocks == want->zone_blocks &&
                             geo.max_open == want->max_open && geo.max_active == want->max_active &&
                             geo.max_io_blocks == want->max_io_blocks &&
                             geo.rotational == want->rotational;
                if (rc < 0)
                        right = right && strstr(err.msg, limit_rows[i].text) &&
                                strstr(err.msg, "/dev/z");
                if (!right)
                        printf("%s: rc %d \"%s\"\n", limit_rows[i].what, rc, err.msg);
                CU_ASSERT_TRUE(right);
        }
}

static const struct t_case cases[] = {
    T_CASE(test_limits_become_a_geometry_or_a_refusal),
};

int main(void)
{
        return t_device_run("limits of zoned block devices", cases, ARRAY_SIZE(cases));
}
