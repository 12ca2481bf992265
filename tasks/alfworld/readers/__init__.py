"""Log formats in which people have ALFWorld episodes; the protocol is `bench.importing.Reader`."""
