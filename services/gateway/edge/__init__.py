"""Around the transcoder: who may come in, how much, how it is traced and told. Knows HTTP; no rule of a service."""
