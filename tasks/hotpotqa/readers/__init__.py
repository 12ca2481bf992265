"""Log formats in which people have HotpotQA episodes; the protocol is `bench.importing.Reader`."""
