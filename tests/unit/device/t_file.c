#include "tests/unit/device/t_file.h"

#include "pool/device/file_format.h"

const struct file_device_spec small = {
    .size_bytes = FILE_FORMAT_ALIGN + (uint64_t)ZONES * ZONE_BLOCKS * ZP_BLOCK,
    .zone_bytes = ZONE_BLOCKS * ZP_BLOCK,
    .zone_capacity_bytes = CAPACITY * ZP_BLOCK,
    .max_open = MAX_OPEN,
    .max_active = MAX_ACTIVE,
};

struct zdev *t_open_file(const char *path)
{
        struct zdev *dev = NULL;
        struct err err = ERR_INIT;
        int rc = file_device_open(loop, path, &dev, &err);
        if (rc < 0)
                printf("%s\n", err.msg);
        CU_ASSERT_EQUAL_FATAL(rc, 0);
        return dev;
}

struct zdev *t_new_file(const char *path)
{
        struct err err = ERR_INIT;
        CU_ASSERT_EQUAL_FATAL(file_device_create(path, &small, true, &err), 0);
        return t_open_file(path);
}
