"""A bundle on a device: reading the zip, what runs there, and judging the report that comes back."""
