"""What containerd executes: `start`, `delete`, `-v`. Lean: it imports itself and errors alone."""
