"""World models of text environments: shared parts of every estimator that simulates episodes."""
