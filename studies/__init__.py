"""One question each, answered from committed data or stored results. Nobody imports these."""
