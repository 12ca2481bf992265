"""Log formats in which people have ScienceWorld episodes; the protocol is `bench.importing.Reader`."""
