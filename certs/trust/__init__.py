"""What clients need to trust the CAs of this portal: their roots, how to install them, and mails before they change."""
