/* What libvirt's configure step would have written, as far as its private headers look at it. */
#ifndef ZONEPOOL_PLUGIN_BACKEND_MESON_CONFIG_H
#define ZONEPOOL_PLUGIN_BACKEND_MESON_CONFIG_H

#define PACKAGE "libvirt"
#define WITH_LIBINTL_H 1
/* else virutil.h declares replacements */
#define WITH_GETUID 1
#define WITH_GETEUID 1
#define WITH_GETGID 1
#define WITH_GETEGID 1

#endif
