"""What runs on a schedule, and the watch over it from outside that schedule."""
