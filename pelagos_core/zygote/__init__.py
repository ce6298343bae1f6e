"""The zygote: a warm process that forks the daemons of pods. Never required."""
