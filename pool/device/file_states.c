/* Zone states of a file device, see file_states.h.
 *
 * Why not a plain store: the page may be gone, and then it would be SIGBUS. Why not pwrite: it takes
 * the inode's lock and would wait, with the whole loop, for direct writes of other zones that are
 * under way. So the kernel is asked to read a word of ours into the mapping: it takes the fault
 * that a store would take, and says -EFAULT where there is no page. The copy of an aligned word is
 * one store on every machine this runs on; were it two, the word's check would tell. */
#include "pool/device/file_states.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

int file_states_open(struct file_states *s, int fd, const struct file_format *fmt)
{
        *s = (struct file_states){.map_len = fmt->data_offset, .offset = fmt->states_offset};
        s->word_fd = memfd_create("zonepool zone state", MFD_CLOEXEC);
        if (s->word_fd < 0)
                return -errno;
        if (ftruncate(s->word_fd, sizeof(*s->word)) < 0)
                return -errno;
        void *word =
            mmap(NULL, sizeof(*s->word), PROT_READ | PROT_WRITE, MAP_SHARED, s->word_fd, 0);
        if (word == MAP_FAILED)
                return -errno;
        s->word = word;
        void *map = mmap(NULL, s->map_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
                return -errno;
        s->map = map;
        return 0;
}

void file_states_close(struct file_states *s)
{
        if (s->map)
                munmap(s->map, s->map_len);
        if (s->word)
                munmap(s->word, sizeof(*s->word));
        if (s->map_len && s->word_fd >= 0)
                close(s->word_fd);
        *s = (struct file_states){0};
}

int file_states_read(int fd, const struct file_format *fmt, uint64_t *words)
{
        size_t len = (size_t)fmt->geo.nr_zones * sizeof(*words);

        for (size_t done = 0; done < len;) {
                ssize_t n =
                    pread(fd, (char *)words + done, len - done, (off_t)(fmt->states_offset + done));
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : -EIO;
                done += (size_t)n;
        }
        return 0;
}

int file_states_store(struct file_states *s, uint32_t zone, uint64_t word)
{
        uint8_t *at = s->map + s->offset + (size_t)zone * sizeof(word);
        ssize_t n;

        *s->word = word;
        do
                n = pread(s->word_fd, at, sizeof(word), 0);
        while (n < 0 && errno == EINTR);
        return n == (ssize_t)sizeof(word) ? 0 : -EIO;
}
