"""Tuning: MetaSchedule tries variations of our own schedules; one is used only where it measured faster."""
