/* What each pool's volumes were when zonepoold was last asked, about all or about one.
 *
 * libvirt empties its list before it asks for a refresh, and a refresh that fails stops the pool:
 * it would drop every volume because the daemon is being restarted. With this copy such a refresh
 * shows what is known instead. Nothing is decided by it: every operation asks the daemon.
 */
#include "backend.h"
#include "base/cleanup.h"
#include "base/list.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct kept {
        struct list node;
        json_t *result;
        char pool[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards all_kept and its entries */
static struct list all_kept = LIST_INIT(all_kept);

static struct kept *find(const char *pool)
{
        struct kept *k;

        list_for_each (k, &all_kept, node)
                if (strcmp(k->pool, pool) == 0)
                        return k;
        return NULL;
}

void backend_list_keep(const char *pool, const json_t *result)
{
        json_t *copy = json_deep_copy(result);

        pthread_mutex_lock(&lock);
        struct kept *k = find(pool);
        if (!k && copy) {
                k = calloc(1, sizeof(*k) + strlen(pool) + 1);
                if (k) {
                        strcpy(k->pool, pool);
                        list_add_tail(&all_kept, &k->node);
                }
        }
        if (k && copy) {
                json_decref(k->result);
                k->result = steal_ptr(&copy);
        }
        pthread_mutex_unlock(&lock);
        json_decref(copy);
}

json_t *backend_list_recall(const char *pool)
{
        pthread_mutex_lock(&lock);
        struct kept *k = find(pool);
        json_t *copy = k ? json_deep_copy(k->result) : NULL;
        pthread_mutex_unlock(&lock);
        return copy;
}

/* The index of the volume in the pool's list, or its length. */
static size_t volume_index(json_t *volumes, const char *name)
{
        size_t i;
        json_t *o;

        json_array_foreach(volumes, i, o)
        {
                const char *other = json_string_value(json_object_get(o, "name"));
                if (other && strcmp(other, name) == 0)
                        break;
        }
        return i;
}

void backend_list_put(const char *pool, const char *name, json_t *volume)
{
        json_t *copy = json_deep_copy(volume);

        pthread_mutex_lock(&lock);
        struct kept *k = find(pool);
        json_t *volumes = k ? json_object_get(k->result, "volumes") : NULL;
        if (volumes && copy) {
                size_t i = volume_index(volumes, name);
                if (i < json_array_size(volumes))
                        json_array_set(volumes, i, copy);
                else
                        json_array_append(volumes, copy);
        }
        pthread_mutex_unlock(&lock);
        json_decref(copy);
}

void backend_list_drop(const char *pool, const char *name)
{
        pthread_mutex_lock(&lock);
        struct kept *k = find(pool);
        json_t *volumes = k ? json_object_get(k->result, "volumes") : NULL;
        if (volumes)
                json_array_remove(volumes, volume_index(volumes, name));
        pthread_mutex_unlock(&lock);
}

void backend_list_forget(const char *pool)
{
        pthread_mutex_lock(&lock);
        struct kept *k = find(pool);
        if (k) {
                list_del(&k->node);
                json_decref(k->result);
                free(k);
        }
        pthread_mutex_unlock(&lock);
}
