"""What an engine author may import, with `errors` and `exit_status`: the hooks, what they are given, a base class."""
