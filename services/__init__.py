"""Memory Box: the services and what they share; each folder is one service, `mesh` is the plumbing."""
