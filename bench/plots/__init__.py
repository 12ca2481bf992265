"""Figures of the report, drawn from scored boards and nothing else."""
