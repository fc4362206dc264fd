"""What the server keeps: the database, resources in it, and their files in the data directory."""
