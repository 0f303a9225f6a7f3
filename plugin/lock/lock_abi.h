/* The binary interface of libvirt's lock manager plugins, version 1.0.0.
 *
 * libvirt installs no header for it. The declarations here are written from the interface as it has
 * stood, byte for byte, from 9.0 to 12.8 (docs/libvirt.md); nothing of libvirt is needed to build
 * the driver and one binary serves them all.
 */
#ifndef ZONEPOOL_PLUGIN_LOCK_LOCK_ABI_H
#define ZONEPOOL_PLUGIN_LOCK_LOCK_ABI_H

#include <stddef.h>

enum {
        LOCK_ABI_VERSION = 1000000, /* major * 10^6 + minor * 10^3 + micro; major must match */

        LOCK_DRIVER_USES_STATE = 1,

        LOCK_OBJECT_DOMAIN = 0,

        LOCK_RESOURCE_DISK = 0,
        LOCK_RESOURCE_LEASE = 1,

        LOCK_ACQUIRE_REGISTER_ONLY = 1, /* in the forked child, before it becomes QEMU */
        LOCK_ACQUIRE_RESTRICT = 2,
};

enum lock_param_type {
        LOCK_PARAM_STRING,
        LOCK_PARAM_CSTRING,
        LOCK_PARAM_INT,
        LOCK_PARAM_LONG,
        LOCK_PARAM_UINT,
        LOCK_PARAM_ULONG,
        LOCK_PARAM_DOUBLE,
        LOCK_PARAM_UUID,
};

struct lock_param {
        int type;
        const char *key;
        union {
                int i;
                long long l;
                unsigned ui;
                unsigned long long ul;
                double d;
                char *str;
                const char *cstr;
                unsigned char uuid[16];
        } value;
};

struct lock_driver;

struct lock_manager {
        const struct lock_driver *driver;
        void *private_data; /* the driver's own */
};

/* All return 0, or -1 after an error was reported. States are malloc'ed and libvirt's to free. */
struct lock_driver {
        unsigned version;
        unsigned flags;
        int (*init)(unsigned version, const char *config_file, unsigned flags);
        int (*deinit)(void);
        int (*new_manager)(struct lock_manager *man, unsigned type, size_t nparams,
                           struct lock_param *params, unsigned flags);
        void (*free_manager)(struct lock_manager *man);
        int (*add_resource)(struct lock_manager *man, unsigned type, const char *name,
                            size_t nparams, struct lock_param *params, unsigned flags);
        int (*acquire)(struct lock_manager *man, const char *state, unsigned flags, int action,
                       int *fd);
        int (*release)(struct lock_manager *man, char **ret_state, unsigned flags);
        int (*inquire)(struct lock_manager *man, char **ret_state, unsigned flags);
};

_Static_assert(sizeof(struct lock_driver) == 72, "the table is 72 bytes long on 64-bit machines");
_Static_assert(sizeof(struct lock_param) == 32, "a parameter is 32 bytes long");

#endif
