"""A local server that speaks Snowflake: the connector's protocol, its SQL, its Cortex endpoints. For development and tests only.

It refuses what Snowflake refuses: every statement passes a list of productions and a catalogue of functions before the engine sees it.
"""
