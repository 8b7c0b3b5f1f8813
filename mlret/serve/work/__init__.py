"""Work off the event loop: threads that encode, read and write, with bounded queues."""
