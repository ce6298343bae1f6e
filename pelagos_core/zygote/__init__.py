"""The zygote: a process with loaded modules that forks the daemons of pods. Everything works without it."""
