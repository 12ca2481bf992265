"""One public file per estimator; shared parts live in files that start with an underscore."""
