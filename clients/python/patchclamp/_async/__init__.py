"""The asynchronous half of the SDK, from which the synchronous half is generated."""
