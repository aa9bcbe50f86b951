"""From options to a resolved config and the stages it asks for."""
