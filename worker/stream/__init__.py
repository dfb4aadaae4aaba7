"""From the requests topic to the handler and back to the group's offsets."""
