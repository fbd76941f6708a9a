"""What several services need of Snowflake: sessions, REST, one error map. Known only to adapters.

Facts about the connector hold for 4.8 and 5.x alike; where they differ the code says so.
"""
