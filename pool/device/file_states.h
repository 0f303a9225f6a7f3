/* The zone states of a file device as they stand in its file: one word a zone, shared with the page
 * cache, so that a stored word outlives the process.
 *
 * The words are stored through the kernel: where the file has no page for them any more (it was cut
 * short, its file system has failed or is full) a store fails, and no signal is raised.
 *
 * Threads: one. */
#ifndef ZONEPOOL_POOL_DEVICE_FILE_STATES_H
#define ZONEPOOL_POOL_DEVICE_FILE_STATES_H

#include "pool/device/file_format.h"

#include <stddef.h>

struct file_states {
        uint8_t *map; /* the front of the file; only the kernel stores there. NULL: not open */
        size_t map_len;
        uint64_t offset; /* of the first word, bytes */
        int word_fd; /* memory of one word, from which the kernel copies, */
        uint64_t *word; /* and which is this */
};

/* fd is not needed afterwards. 0 or -errno; file_states_close also after a failure. */
int file_states_open(struct file_states *s, int fd, const struct file_format *fmt);
/* Accepts a zeroed struct. */
void file_states_close(struct file_states *s);

/* The words of all zones, by a plain read. 0, -EIO, -errno. */
int file_states_read(int fd, const struct file_format *fmt, uint64_t *words);
/* One aligned word: as it was or as it is to be, whenever the process or the machine stops. -EIO:
 * the file has no place for it. */
int file_states_store(struct file_states *s, uint32_t zone, uint64_t word);

#endif
