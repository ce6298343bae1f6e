"""The program that containerd executes: `start`, `delete`, `-v`. Lean: imports this package and `errors` only."""
