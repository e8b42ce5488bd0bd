"""What all commands share: options, the application, the session, resuming."""
