"""Infrastructure that every folder shares: files, addresses, downloads, locks, retries."""
