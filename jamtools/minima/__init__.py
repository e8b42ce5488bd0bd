"""Finding a minimum of the loss, and proving that it is one."""
