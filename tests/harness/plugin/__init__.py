"""What pytest loads: closed sockets, the flush that append-only tables allow, and fixtures for the real parts."""
