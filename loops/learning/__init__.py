"""Parts of training a student: task, loop, settings, going on after a stop."""
