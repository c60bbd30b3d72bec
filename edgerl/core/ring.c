/* SPDX-License-Identifier: Apache-2.0
 *
 * ring.c: the guardian's tick records for whoever records them. The writer never waits and overwrites the oldest; a
 * reader that was too slow learns that it lost records, and never gets a mixed one.
 *
 * Record i stands in slot i % capacity. It is being written while head == i, so a copy of record i is whole if head
 * has not reached i + capacity afterwards. Words are stored with release and loaded with acquire, as in mailbox.c.
 */
#include "internal.h"

uint32_t erl_record_bytes(const erl_config *config) {
    const uint32_t floats =
        config->state_count + 2u * config->action_count + config->command_count + config->operator_count;
    return (uint32_t)(sizeof(erl_tick_header) + 4u * floats + 7u) & ~7u;
}

uint64_t erl_ring_bytes(const erl_config *config) {
    return sizeof(erl_ring) + (uint64_t)config->ring_capacity * erl_record_bytes(config);
}

void erl_ring_create(erl_ring *ring, const erl_config *config) {
    ring->magic = ERL_RING_MAGIC;
    ring->version = ERL_LAYOUT_VERSION;
    ring->record_bytes = erl_record_bytes(config);
    ring->capacity = config->ring_capacity;
    ring->state_count = config->state_count;
    ring->command_count = config->command_count;
    ring->action_count = config->action_count;
    ring->operator_count = config->operator_count;
}

/* Sizes come from the guardian's own copy of the configuration, never from the shared header. */
void erl_ring_append(erl_ring *ring, const erl_config *config, const void *record) {
    const uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    const size_t words = erl_record_bytes(config) / 8u;
    erl_words_store(&ring->words[(head % config->ring_capacity) * words], record, words);
    atomic_store_explicit(&ring->head, head + 1, memory_order_release);
}

uint64_t erl_ring_head(const erl_ring *ring) {
    return atomic_load_explicit(&ring->head, memory_order_acquire);
}

uint32_t erl_ring_read(const erl_ring *ring, uint64_t index, void *out, uint32_t bytes) {
    const uint64_t capacity = ring->capacity;
    const size_t words = ring->record_bytes / 8u;
    if (capacity == 0 || bytes < ring->record_bytes) {
        return ERL_BAD;
    }
    const uint64_t head = erl_ring_head(ring);
    if (index >= head) {
        return ERL_EMPTY;
    }
    if (head - index >= capacity) {
        return ERL_LOST;
    }
    erl_words_load(out, &ring->words[(index % capacity) * words], words);
    return atomic_load_explicit(&ring->head, memory_order_relaxed) - index < capacity ? ERL_OK : ERL_LOST;
}
