/* Error numbers by name, as they travel in the control protocol ("EBUSY"). */
#ifndef ZONEPOOL_CONTROL_ERRNAME_H
#define ZONEPOOL_CONTROL_ERRNAME_H

/* code: a positive errno. One that has no name is "EIO". Never NULL. */
const char *errname_of(int code);

/* The positive errno, or EIO for a name that this system does not know. */
int errname_parse(const char *name);

#endif
