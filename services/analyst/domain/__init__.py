"""What a semantic model is, how a question is read, what may be executed, and the ports the service needs."""
