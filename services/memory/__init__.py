"""The memory service: keeps what it is told and finds it again. Owns the memories; calls the embedding service; never computes a vector itself."""
