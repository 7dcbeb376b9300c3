"""How notices leave the portal: by mail and by webhook."""
