"""Language-model agents behind the `Policy` protocol."""
