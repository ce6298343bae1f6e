"""A real Kubernetes of one node, in namespaces of its own, and what its users do.

python -m tests.kubernetes up
python -m tests.kubernetes kubectl get nodes
python -m tests.kubernetes down
"""
