"""The mutants of bucket.c."""

from __future__ import annotations

from tests.mutation.judged import SANITIZER

TESTS = ("faults",)

EQUIVALENT = {
    (
        "uint64_t *word = &bucket->bits[bucket->next / 64u];",
        "uint64_t *word = &bucket->bits[bucket->next / 63u];",
    ): SANITIZER,
}

CRASHES = {
    ("memset(bucket, 0, sizeof *bucket);", "memset(bucket, 1, sizeof *bucket);"): "its next tick is number 16,843,009",
    ("bucket->window = window;", ";"): "divides by 0",
}
