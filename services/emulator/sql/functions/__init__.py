"""The catalogue of functions: what is not in it does not exist. One module for each family of Snowflake's reference."""
