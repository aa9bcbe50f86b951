"""All of a subject, what is hidden of it too."""
