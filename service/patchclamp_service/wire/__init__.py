"""Messages on the wire ↔ what the engine takes and gives."""
