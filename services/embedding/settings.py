"""Settings of the embedding service."""

import os
from dataclasses import dataclass

from services.embedding.domain.embeddings import MAX_TEXTS
from services.mesh.config import integer, one_of, setting, switch


def usable_processors() -> int:
    """Return how many processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class EmbeddingSettings:
    """What the embedding service can be told."""

    model: str = setting(
        "MEMORYBOX_EMBEDDING_MODEL",
        default="int8",
        parse=one_of("int8", "float32"),
        doc="How the local model multiplies: `int8`, or `float32`, as it was trained: 3 to 6 times slower. Memories move to another one by `StartReembedding` (docs/spaces.md).",
    )
    workers: int = setting(
        "MEMORYBOX_EMBEDDING_WORKERS",
        default=usable_processors,
        parse=integer(1, 256),
        doc="Threads that run the local model; default one for each usable processor. Set it where a container gets a share of them.",
    )
    queue_texts: int = setting(
        "MEMORYBOX_EMBEDDING_QUEUE",
        default=1024,
        parse=integer(MAX_TEXTS, 1_000_000),
        doc="Texts that may wait or be under way; more are refused with RESOURCE_EXHAUSTED.",
    )
    queue_mib: int = setting(
        "MEMORYBOX_EMBEDDING_QUEUE_MIB",
        default=64,
        parse=integer(3, 65_536),
        doc="MiB of text that may wait or be under way.",
    )
    cache_mib: int = setting(
        "MEMORYBOX_EMBEDDING_CACHE_MIB",
        default=64,
        parse=integer(0, 65_536),
        doc="MiB for the vectors of texts seen before; 0 keeps none. 64 MiB hold about 36,000 texts.",
    )
    cortex_embed: str = setting(
        "MEMORYBOX_CORTEX_EMBED",
        default="rest",
        parse=one_of("rest", "ai_embed", "embed_text"),
        doc="How Cortex is asked for vectors in the snowflake profile: `rest`, or by SQL on the warehouse, `ai_embed` or the older `embed_text`.",
    )
    cortex_model: str = setting(
        "MEMORYBOX_CORTEX_EMBED_MODEL",
        default="snowflake-arctic-embed-m-v1.5",
        parse=one_of("snowflake-arctic-embed-m-v1.5", "snowflake-arctic-embed-m", "e5-base-v2"),
        doc="Model of Cortex for new vectors; those of the others stay searchable until `StartReembedding` has moved them.",
    )
    cortex_prefixes: bool = setting(
        "MEMORYBOX_CORTEX_EMBED_PREFIXES",
        default=False,
        parse=switch,
        doc="Whether the prefixes that the model's authors advise are put before texts: `on`, if Cortex adds none itself, or `off` (docs/snowflake-assumptions.md).",
    )
