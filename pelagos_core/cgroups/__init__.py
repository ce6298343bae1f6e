"""Control groups of both versions: their hierarchies, controllers and events."""
