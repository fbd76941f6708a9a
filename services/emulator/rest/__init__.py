"""REST on the connector's port: SQL API, Cortex inference and Analyst, and the control endpoint."""
