"""Files on disk and at addresses: found, locked, downloaded, unpacked."""
