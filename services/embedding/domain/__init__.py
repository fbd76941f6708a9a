"""The rules of embedding: limits, sharing of equal texts, a bounded queue, a bounded cache; and the port to a model."""
