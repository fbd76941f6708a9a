"""What a memory is, who may do what with it, and the ports the service needs. Imports no transport and no engine."""
