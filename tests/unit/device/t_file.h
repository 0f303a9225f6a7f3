/* File devices of the tests' geometry. */
#ifndef TESTS_UNIT_DEVICE_T_FILE_H
#define TESTS_UNIT_DEVICE_T_FILE_H

#include "pool/device/file.h"
#include "tests/unit/device/t_device.h"

extern const struct file_device_spec small;

struct zdev *t_open_file(const char *path);
/* Formats what is at path, whatever it holds. */
struct zdev *t_new_file(const char *path);

#endif
