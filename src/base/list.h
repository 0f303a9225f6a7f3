/* Intrusive doubly linked list with a head. Not thread-safe. A node is in at most one list; a node
 * set up by list_init (or removed by list_del) may be removed again harmlessly.
 */
#ifndef ZONEPOOL_BASE_LIST_H
#define ZONEPOOL_BASE_LIST_H

#include "base/cleanup.h"

#include <stdbool.h>
#include <stddef.h>

struct list {
        struct list *next, *prev;
};

#define LIST_INIT(name)                                                                            \
        {                                                                                          \
                &(name), &(name)                                                                   \
        }

static inline void list_init(struct list *l)
{
        l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
        return l->next == l;
}

static inline void list_insert_(struct list *node, struct list *prev, struct list *next)
{
        node->prev = prev;
        node->next = next;
        prev->next = node;
        next->prev = node;
}

static inline void list_add_tail(struct list *head, struct list *node)
{
        list_insert_(node, head->prev, head);
}

static inline void list_add_head(struct list *head, struct list *node)
{
        list_insert_(node, head, head->next);
}

static inline void list_del(struct list *node)
{
        node->prev->next = node->next;
        node->next->prev = node->prev;
        list_init(node);
}

/* Appends all of from to head; from is empty afterwards. */
static inline void list_splice_tail(struct list *head, struct list *from)
{
        if (list_empty(from))
                return;
        from->next->prev = head->prev;
        head->prev->next = from->next;
        from->prev->next = head;
        head->prev = from->prev;
        list_init(from);
}

#define list_entry(node, type, member) container_of(node, type, member)
#define list_first(head, type, member)                                                             \
        (list_empty(head) ? NULL : list_entry((head)->next, type, member))
#define list_for_each(pos, head, member)                                                           \
        for (pos = list_entry((head)->next, typeof(*pos), member); &pos->member != (head);         \
             pos = list_entry(pos->member.next, typeof(*pos), member))
/* The body may remove pos, and only pos. */
#define list_for_each_safe(pos, tmp, head, member)                                                 \
        for (pos = list_entry((head)->next, typeof(*pos), member),                                 \
            tmp = list_entry(pos->member.next, typeof(*pos), member);                              \
             &pos->member != (head);                                                               \
             pos = tmp, tmp = list_entry(tmp->member.next, typeof(*tmp), member))

#endif
