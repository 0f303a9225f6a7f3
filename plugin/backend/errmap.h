/* Errors of zonepoold as libvirt's. One table, the only place. */
#ifndef ZONEPOOL_PLUGIN_BACKEND_ERRMAP_H
#define ZONEPOOL_PLUGIN_BACKEND_ERRMAP_H

/* The VIR_ERR_* number (libvirt/virterror.h) for a negative errno. */
int errmap_code(int rc);

#endif
