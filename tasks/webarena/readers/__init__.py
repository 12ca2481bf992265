"""Log formats in which people have web episodes; the protocol is `bench.importing.Reader`."""
